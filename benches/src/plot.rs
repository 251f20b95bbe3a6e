//! Answers as a picture: one bar a case, from the base at 1, on a logarithmic axis.

use std::fmt::{self, Write};

use crate::ratios::{Answer, Row};

const WIDTH: f64 = 960.0;
const ROW: f64 = 20.0;
const BAR: f64 = 12.0;
/// Where the axis begins and ends; names are left of it, figures right.
const LEFT: f64 = 340.0;
const RIGHT: f64 = 820.0;
const HEAD: f64 = 92.0;
const FOOT: f64 = 16.0;

const PEER: &str = "#9aa5b1";
const OURS: &str = "#2b6cb0";
const MISSED: &str = "#dd6b20";
const LIMIT: &str = "#1a202c";
const QUIET: &str = "#5f6b7a";

/// Draws the CPU ratios of all answers as an SVG picture.
///
/// A bar to the left of 1 is cheaper than the base of its question. The line in a bar goes from the lowest to the
/// highest round, cut off where the axis ends.
///
/// # Errors
/// Never: it is written into memory.
pub fn svg(title: &str, answers: &[Answer]) -> Result<String, fmt::Error> {
    let axis = Axis::over(answers);
    let height = HEAD + answers.iter().map(height_of).sum::<f64>() + FOOT;
    let mut out = String::new();
    writeln!(
        out,
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" font-family="system-ui, 'DejaVu Sans', sans-serif" font-size="12">"#
    )?;
    writeln!(out, r#"<rect width="100%" height="100%" fill="white"/>"#)?;
    writeln!(out, r#"<text x="16" y="28" font-size="16" font-weight="bold">{}</text>"#, escaped(title))?;
    draw_legend(&mut out, answers)?;
    draw_axis(&mut out, axis, height)?;
    let mut top = HEAD;
    for answer in answers {
        draw_answer(&mut out, answer, axis, top)?;
        top += height_of(answer);
    }
    writeln!(out, "</svg>")?;
    Ok(out)
}

/// The question and its base, a row for each other case, a gap.
fn height_of(answer: &Answer) -> f64 {
    (answer.rows.len().max(1) as f64 + 0.6) * ROW
}

/// What each mark means, of those that there are.
fn draw_legend(out: &mut String, answers: &[Answer]) -> fmt::Result {
    let bars = || answers.iter().flat_map(|answer| answer.rows.iter().skip(1));
    let limits = bars().any(|row| row.at_most.is_some());
    let square = |colour| format!(r#"<rect y="44" width="12" height="12" fill="{colour}"/>"#);
    let marks = [
        (bars().any(|row| row.ours), square(OURS), "ours"),
        (limits, square(MISSED), "ours, over its limit"),
        (true, square(PEER), "others"),
        (limits, format!(r#"<path d="M6 42v16" stroke="{LIMIT}" stroke-width="3"/>"#), "limit"),
        (true, format!(r#"<path d="M-4 50h18" stroke="{LIMIT}" stroke-opacity="0.6"/>"#), "lowest to highest round"),
    ];
    let mut x = 16.0;
    for (_, mark, text) in marks.iter().filter(|(shown, ..)| *shown) {
        writeln!(out, r#"<g transform="translate({x})">{mark}<text x="20" y="54">{text}</text></g>"#)?;
        // About as wide as it will be.
        x += 48.0 + 6.8 * text.len() as f64;
    }
    writeln!(out, r#"<text x="{}" y="54" text-anchor="end">left of 1: cheaper than the base</text>"#, WIDTH - 16.0)
}

fn draw_axis(out: &mut String, axis: Axis, height: f64) -> fmt::Result {
    for mark in axis.marks() {
        let (x, strong) = (axis.x(mark), mark == 1.0);
        let (colour, width) = if strong { (LIMIT, 1.5) } else { ("#e2e8f0", 1.0) };
        let bottom = height - FOOT;
        writeln!(
            out,
            r#"<path d="M{x:.1} {}V{bottom}" stroke="{colour}" stroke-width="{width}"/><text x="{x:.1}" y="{}" text-anchor="middle" fill="{QUIET}">{mark}</text>"#,
            HEAD - 8.0,
            HEAD - 12.0,
        )?;
    }
    Ok(())
}

fn draw_answer(out: &mut String, answer: &Answer, axis: Axis, top: f64) -> fmt::Result {
    let base = answer.rows.first();
    let base = base.map_or("void: two threads shared a core".into(), |base| format!("1 = {}", escaped(&base.name)));
    // The question stands over the axis too; a white edge keeps it readable there.
    writeln!(
        out,
        r#"<text x="16" y="{:.1}" paint-order="stroke" stroke="white" stroke-width="4"><tspan font-weight="bold">{}</tspan><tspan dx="8" fill="{QUIET}">{base}</tspan></text>"#,
        top + 14.0,
        escaped(answer.name),
    )?;
    for (place, row) in answer.rows.iter().enumerate().skip(1) {
        draw_row(out, row, axis, top + place as f64 * ROW)?;
    }
    Ok(())
}

fn draw_row(out: &mut String, row: &Row, axis: Axis, top: f64) -> fmt::Result {
    let missed = row.at_most.is_some_and(|limit| row.cpu.median > limit);
    let colour = match (row.ours, missed) {
        (false, _) => PEER,
        (true, false) => OURS,
        (true, true) => MISSED,
    };
    let (middle, text) = (top + ROW / 2.0, top + ROW / 2.0 + 4.0);
    let (base, end) = (axis.x(1.0), axis.x(row.cpu.median));
    let (x, width) = (base.min(end), (end - base).abs().max(1.0));
    let bar = middle - BAR / 2.0;
    let weight = if row.ours { "bold" } else { "normal" };
    writeln!(out, r#"<text x="{:.1}" y="{text:.1}" text-anchor="end">{}</text>"#, LEFT - 12.0, escaped(&row.name))?;
    writeln!(out, r#"<rect x="{x:.1}" y="{bar:.1}" width="{width:.1}" height="{BAR}" fill="{colour}"/>"#)?;
    let (from, to) = (axis.x(row.cpu.lowest), axis.x(row.cpu.highest));
    writeln!(out, r#"<path d="M{from:.1} {middle:.1}H{to:.1}" stroke="{LIMIT}" stroke-opacity="0.6"/>"#)?;
    let figure = RIGHT + 56.0;
    writeln!(
        out,
        r#"<text x="{figure:.1}" y="{text:.1}" text-anchor="end" font-weight="{weight}">{}</text>"#,
        digits(row.cpu.median)
    )?;
    if let Some(limit) = row.at_most {
        let x = axis.x(limit);
        let (bar, end) = (bar - 2.0, bar + BAR + 2.0);
        writeln!(out, r#"<path d="M{x:.1} {bar:.1}V{end:.1}" stroke="{LIMIT}" stroke-width="3"/>"#)?;
        writeln!(out, r#"<text x="{:.1}" y="{text:.1}" fill="{QUIET}">limit {limit}</text>"#, figure + 10.0)?;
    }
    Ok(())
}

/// Two digits below ten, one above.
fn digits(ratio: f64) -> String {
    if ratio < 10.0 { format!("{ratio:.2}") } else { format!("{ratio:.1}") }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

/// A logarithmic axis.
#[derive(Clone, Copy)]
struct Axis {
    low: f64,
    high: f64,
}

impl Axis {
    /// Wide enough for every median and every limit. What single rounds did is no reason to make it wider.
    fn over(answers: &[Answer]) -> Self {
        let rows = answers.iter().flat_map(|answer| &answer.rows);
        let ratios = || rows.clone().flat_map(|row| [Some(row.cpu.median), row.at_most]).flatten();
        let low = ratios().fold(0.5, f64::min);
        let high = ratios().fold(2.0, f64::max);
        Self { low: low / 1.15, high: high * 1.15 }
    }

    fn x(self, ratio: f64) -> f64 {
        let share = (ratio / self.low).ln() / (self.high / self.low).ln();
        LEFT + share.clamp(0.0, 1.0) * (RIGHT - LEFT)
    }

    /// 1, 2 and 5, and their multiples by powers of ten.
    fn marks(self) -> impl Iterator<Item = f64> {
        const MARKS: [f64; 16] =
            [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0];
        MARKS.into_iter().filter(move |mark| (self.low..=self.high).contains(mark))
    }
}
