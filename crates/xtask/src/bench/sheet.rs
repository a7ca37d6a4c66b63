//! A table of figures, for a terminal or for the docs.

/// A table.
#[derive(Debug, Default)]
pub struct Sheet {
    title: String,
    columns: Vec<String>,
    rows: Vec<Vec<String>>,
    notes: Vec<String>,
}

impl Sheet {
    /// An empty one; the first column names the row.
    pub fn new(title: &str, columns: &[&str]) -> Self {
        let columns = columns.iter().map(|column| (*column).to_owned()).collect();
        Sheet { title: title.to_owned(), columns, ..Sheet::default() }
    }

    /// One more row.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// A sentence below it.
    pub fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }

    /// Prints it, as Markdown if asked to.
    pub fn print(&self, markdown: bool) {
        if markdown {
            anstream::println!("{}", self.markdown());
        } else {
            anstream::println!("{}", self.text());
        }
    }

    fn markdown(&self) -> String {
        let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
        let rule = format!("|{}\n", "---|".repeat(self.columns.len()));
        let mut columns = self.columns.clone();
        if let Some(first) = columns.first_mut() {
            *first = format!("{}{}", self.title, if first.is_empty() { "" } else { ": " }) + first;
        }
        let rows: String = self.rows.iter().map(|row| line(row)).collect();
        let notes: String = self.notes.iter().map(|note| format!("\n{note}\n")).collect();
        format!("{}{rule}{rows}{notes}", line(&columns))
    }

    fn text(&self) -> String {
        let all = || std::iter::once(&self.columns).chain(&self.rows);
        let width = |column: usize| {
            let cells = all().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<_> = (0..self.columns.len()).map(width).collect();
        let line = |row: &Vec<String>| {
            let cells = row.iter().zip(&widths).enumerate();
            let cells = cells.map(|(column, (cell, width))| match column {
                0 => format!("  {cell:<width$}"),
                _ => format!("  {cell:>width$}"),
            });
            cells.collect::<String>().trim_end().to_owned() + "\n"
        };
        let rows: String = self.rows.iter().map(line).collect();
        let notes: String = self.notes.iter().map(|note| format!("  {note}\n")).collect();
        let columns = line(&self.columns);
        format!("\n\u{1b}[1m{}\n{columns}\u{1b}[0m{rows}{notes}", self.title)
    }
}

/// A number with so many decimals; `-` for none.
pub fn number(value: Option<f64>, decimals: usize) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.decimals$}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_table_for_people_and_for_the_docs() {
        let mut sheet = Sheet::new("times in ms", &["", "p50"]);
        sheet.row(["a PATCH".to_owned(), number(Some(6.449), 1)]);
        sheet.row(["none".to_owned(), number(None, 1)]);
        sheet.note("On one machine.");
        let markdown = "| times in ms | p50 |\n|---|---|\n| a PATCH | 6.4 |\n| none | - |\n\nOn one machine.\n";
        assert_eq!(sheet.markdown(), markdown);
        assert!(
            sheet.text().ends_with("  a PATCH  6.4\n  none       -\n  On one machine.\n"),
            "{}",
            sheet.text()
        );
    }
}
