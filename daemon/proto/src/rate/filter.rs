//! Windowed extreme values in constant space (after Kathleen Nichols' estimator: the best, and the
//! second and third best of later parts of the window).

/// The maximum of the samples of the last `window` units of a monotone clock (rounds, nanoseconds).
#[derive(Clone, Debug)]
pub(super) struct WindowedMax {
    window: u64,
    best: [(u64, f64); 3],
}

impl WindowedMax {
    pub(super) fn new(window: u64) -> Self {
        Self { window, best: [(0, 0.0); 3] }
    }

    pub(super) fn get(&self) -> f64 {
        self.best[0].1
    }

    /// Forgets everything but `value`.
    pub(super) fn reset(&mut self, at: u64, value: f64) {
        self.best = [(at, value); 3];
    }

    pub(super) fn set_window(&mut self, window: u64) {
        self.window = window;
    }

    pub(super) fn update(&mut self, at: u64, value: f64) {
        let sample = (at, value);
        if value >= self.best[0].1 || at.saturating_sub(self.best[2].0) > self.window {
            self.best = [sample; 3];
            return;
        }
        if value >= self.best[1].1 {
            self.best[1] = sample;
            self.best[2] = sample;
        } else if value >= self.best[2].1 {
            self.best[2] = sample;
        }
        let age = at.saturating_sub(self.best[0].0);
        if age > self.window {
            self.best = [self.best[1], self.best[2], sample];
            if at.saturating_sub(self.best[0].0) > self.window {
                self.best = [self.best[1], self.best[2], sample];
            }
        } else if self.best[1].0 == self.best[0].0 && age > self.window / 4 {
            self.best[1] = sample;
            self.best[2] = sample;
        } else if self.best[2].0 == self.best[1].0 && age > self.window / 2 {
            self.best[2] = sample;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_maximum_leaves_with_the_window() {
        let mut max = WindowedMax::new(10);
        max.update(0, 5.0);
        for at in 1..=10 {
            max.update(at, 3.0);
            assert!((max.get() - 5.0).abs() < f64::EPSILON, "{at}");
        }
        max.update(11, 2.0);
        assert!((max.get() - 3.0).abs() < f64::EPSILON);
    }
}
