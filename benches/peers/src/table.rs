//! All answers as one table.

use std::fmt::{self, Write};

use adtrack_benches::ratios::{Answer, Row};

/// A row for each work, a column for each peer: CPU time of a message, its ratio to ours, messages a second.
pub(crate) fn markdown(answers: &[Answer]) -> Result<String, fmt::Error> {
    let mut out = String::new();
    let names = answers.iter().find(|answer| !answer.rows.is_empty()).map(|answer| &answer.rows);
    let names: Vec<_> = names.into_iter().flatten().map(|row| row.name.as_str()).collect();
    writeln!(out, "| work | {} |\n|---|{}", names.join(" | "), "---|".repeat(names.len()))?;
    for answer in answers {
        let cells: Vec<_> = answer.rows.iter().map(cell).collect();
        let cells = if cells.is_empty() { "void".into() } else { cells.join(" | ") };
        writeln!(out, "| {} | {cells} |", answer.name)?;
    }
    Ok(out)
}

fn cell(row: &Row) -> String {
    let a_second = match 1e9 / row.wall_ns {
        many if many >= 1e6 => format!("{:.1} M/s", many / 1e6),
        few => format!("{:.0} k/s", few / 1e3),
    };
    let ratio = if row.ours { String::new() } else { format!("**{:.1}x** ", row.cpu.median) };
    format!("{ratio}{:.0} ns, {a_second}", row.cpu_ns)
}
