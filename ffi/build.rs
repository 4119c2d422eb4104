//! Gives the shared library its soname, so that programs bind to the ABI and not to a file.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-cdylib-link-arg=-Wl,-soname,libudpx.so.0");
}
