#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| udpx_fuzz::sack(data));
