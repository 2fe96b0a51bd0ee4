//! A small plot of a report's curve, drawn by hand.

use std::fmt::Write;

use crate::report::{Report, number};

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 360.0;
const MARGIN: f64 = 56.0;

/// The report's curve; `y` is logarithmic if it spans more than a factor of 20.
pub(crate) fn plot(report: &Report) -> String {
    let points = &report.curve.points;
    let range =
        |values: &mut dyn Iterator<Item = f64>| values.fold((f64::MAX, f64::MIN), |(a, b), v| (a.min(v), b.max(v)));
    let (left, right) = range(&mut points.iter().map(|p| p.0));
    let (low, high) = range(&mut points.iter().map(|p| p.1));
    let logarithmic = low > 0.0 && high / low > 20.0;
    let scale = |v: f64| if logarithmic { v.ln() } else { v };
    let bottom = if logarithmic { scale(low) } else { 0.0 };
    let x = |v: f64| MARGIN + (WIDTH - 2.0 * MARGIN) * (v - left) / (right - left).max(f64::EPSILON);
    let y = |v: f64| {
        HEIGHT - MARGIN - (HEIGHT - 2.0 * MARGIN) * (scale(v) - bottom) / (scale(high) - bottom).max(f64::EPSILON)
    };

    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" font-size=\"11\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n\
         <text x=\"{MARGIN}\" y=\"24\" font-size=\"13\">{}</text>\n",
        escape(&format!("{}: {}", report.scenario, report.settings))
    );
    if points.is_empty() {
        return out + "<text x=\"56\" y=\"180\">no figure</text>\n</svg>\n";
    }
    for &(px, py) in points {
        let _ = writeln!(out, "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"3\" fill=\"#06c\"/>", x(px), y(py));
    }
    let line: Vec<_> = points.iter().map(|&(px, py)| format!("{:.1},{:.1}", x(px), y(py))).collect();
    let _ = writeln!(out, "<polyline points=\"{}\" fill=\"none\" stroke=\"#06c\"/>", line.join(" "));
    for n in 0..=4 {
        let part = f64::from(n) / 4.0;
        let (vx, level) = (left + (right - left) * part, bottom + (scale(high) - bottom) * part);
        let vy = if logarithmic { level.exp() } else { level };
        let _ = writeln!(
            out,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
            x(vx),
            HEIGHT - 36.0,
            number(vx)
        );
        let _ = writeln!(
            out,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            MARGIN - 6.0,
            y(vy) + 4.0,
            number(vy)
        );
        let _ = writeln!(out, "<path d=\"M{MARGIN} {0:.1}H{1}\" stroke=\"#ddd\"/>", y(vy), WIDTH - MARGIN);
    }
    let _ = writeln!(
        out,
        "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
        WIDTH / 2.0,
        HEIGHT - 14.0,
        escape(&report.curve.x)
    );
    let _ = writeln!(out, "<text x=\"{MARGIN}\" y=\"46\">{}</text>\n</svg>", escape(&report.curve.y));
    out
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plot_is_well_formed_with_and_without_points() {
        let mut report = Report::new("fanout", "a < b".into());
        assert!(plot(&report).contains("a &lt; b"));
        report.curve.points = vec![(0.0, 1.0), (50.0, 2.0), (100.0, 400.0)];
        let svg = plot(&report);
        assert_eq!((svg.matches("<circle").count(), svg.matches("</svg>").count()), (3, 1));
        assert!(!svg.contains("NaN"));
    }
}
