//! What was measured: as a table for people, and as JSON.

use std::fmt;

use serde::Serialize;

use crate::machine::{self, Machine};

/// Everything that one run measured, and on what.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    build: String,
    machine: Machine,
    /// Load averages after the last scenario; the benchmark itself is part of them.
    load_after: String,
    figures: Vec<Figure>,
}

/// One thing that was measured, as often as it was.
#[derive(Debug, Serialize)]
pub(crate) struct Figure {
    what: String,
    unit: &'static str,
    samples: Vec<f64>,
    /// The median must not be more.
    #[serde(skip_serializing_if = "Option::is_none")]
    aim_max: Option<f64>,
    /// The median must not be less.
    #[serde(skip_serializing_if = "Option::is_none")]
    aim_min: Option<f64>,
}

impl Figure {
    /// A figure with its samples, of which there is at least one.
    pub(crate) fn new(what: impl Into<String>, unit: &'static str, samples: impl IntoIterator<Item = f64>) -> Self {
        let mut samples: Vec<f64> = samples.into_iter().collect();
        samples.sort_by(f64::total_cmp);
        Self {
            what: what.into(),
            unit,
            samples,
            aim_max: None,
            aim_min: None,
        }
    }

    /// What it should be at most.
    #[must_use]
    pub(crate) fn at_most(mut self, aim: f64) -> Self {
        self.aim_max = Some(aim);
        self
    }

    /// What it should be at least.
    #[must_use]
    pub(crate) fn at_least(mut self, aim: f64) -> Self {
        self.aim_min = Some(aim);
        self
    }

    /// The sample below which this share of all samples is.
    pub(crate) fn quantile(&self, share: f64) -> f64 {
        let last = self.samples.len().saturating_sub(1);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "an index into a few thousand samples"
        )]
        let index = (last as f64 * share).round() as usize;
        self.samples.get(index).copied().unwrap_or(f64::NAN)
    }

    fn is_missed(&self) -> bool {
        let median = self.quantile(0.5);
        self.aim_max.is_some_and(|aim| median > aim) || self.aim_min.is_some_and(|aim| median < aim)
    }

    fn verdict(&self) -> String {
        let aims = [("≤", self.aim_max), ("≥", self.aim_min)];
        let aims = aims
            .iter()
            .filter_map(|(sign, aim)| aim.map(|aim| format!("{sign} {}, ", number(aim))));
        let aims: String = aims.collect();
        match (aims.is_empty(), self.is_missed()) {
            (true, _) => aims,
            (false, true) => aims + "missed",
            (false, false) => aims + "met",
        }
    }
}

impl Report {
    pub(crate) fn new(build: String, machine: Machine, figures: Vec<Figure>) -> Self {
        Self {
            build,
            machine,
            load_after: machine::load(),
            figures,
        }
    }

    /// What was measured and misses its aim.
    pub(crate) fn missed(&self) -> Vec<&str> {
        let missed = self.figures.iter().filter(|figure| figure.is_missed());
        missed.map(|figure| figure.what.as_str()).collect()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let machine = &self.machine;
        writeln!(
            f,
            "build {}; {}, {} cores, {} MiB, Linux {}; load {} before, {} after\n",
            self.build,
            machine.processor,
            machine.cores,
            machine.memory_mib,
            machine.kernel,
            machine.load_before,
            self.load_after
        )?;
        let width = self.figures.iter().map(|figure| figure.what.chars().count()).max();
        let width = width.unwrap_or_default().max("what".len());
        writeln!(
            f,
            "| {:width$} |   median |      min |      max |    n | unit   | aim |",
            "what"
        )?;
        writeln!(
            f,
            "|-{:-<width$}-|---------:|---------:|---------:|-----:|--------|-----|",
            ""
        )?;
        for figure in &self.figures {
            writeln!(
                f,
                "| {:width$} | {:>8} | {:>8} | {:>8} | {:>4} | {:6} | {} |",
                figure.what,
                number(figure.quantile(0.5)),
                number(figure.quantile(0.0)),
                number(figure.quantile(1.0)),
                figure.samples.len(),
                figure.unit,
                figure.verdict()
            )?;
        }
        Ok(())
    }
}

/// Three significant digits are more than such figures deserve.
fn number(value: f64) -> String {
    match value.abs() {
        size if size < 10.0 => format!("{value:.2}"),
        size if size < 100.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_decides_whether_an_aim_is_met() {
        let figure = Figure::new("x", "ms", [9.0, 1.0, 2.0]);
        assert_eq!([0.0, 0.5, 1.0].map(|share| figure.quantile(share)), [1.0, 2.0, 9.0]);
        assert_eq!(figure.at_most(2.0).verdict(), "≤ 2.00, met");
        assert_eq!(Figure::new("x", "ms", [2.1]).at_most(2.0).verdict(), "≤ 2.00, missed");
        assert_eq!(Figure::new("x", "1/s", [2.1]).at_least(2.0).verdict(), "≥ 2.00, met");
        assert_eq!(Figure::new("x", "1/s", [1.9]).at_least(2.0).verdict(), "≥ 2.00, missed");
    }
}
