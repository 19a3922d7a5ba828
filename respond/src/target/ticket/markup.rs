//! Headings, items and code in Markdown and Textile.
//!
//! Owns: what keeps hostile values from becoming markup. Never: what is said.

use crate::config::Markup;

/// Characters of one value; more tells a person nothing.
const VALUE_CHARS_MAX: usize = 500;

/// Characters of one log line.
const LINE_CHARS_MAX: usize = 2_048;

/// A text in the making.
#[derive(Debug)]
pub(super) struct Page {
    markup: Markup,
    text: String,
    in_list: bool,
}

/// A text without markup: characters that mean something in Markdown, Textile or HTML are left out,
/// and it stays on one line.
pub(super) fn plain(text: &str) -> String {
    let told = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    let told = told.filter(|c| !matches!(c, '<' | '>' | '`' | '[' | ']' | '|' | '!' | '\\'));
    told.take(VALUE_CHARS_MAX).collect::<String>().trim().to_owned()
}

/// A value on one line, without what could end the code in which it stands, nor characters that
/// change the direction of text.
fn value(text: &str, max: usize) -> String {
    let hidden =
        |c: char| matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200b}');
    text.chars()
        .take(max)
        .map(|c| match c {
            c if c.is_control() || hidden(c) => ' ',
            '`' => '\'',
            '<' => '‹',
            '>' => '›',
            other => other,
        })
        .collect::<String>()
        .trim()
        .to_owned()
}

impl Page {
    pub(super) fn new(markup: Markup) -> Self {
        Self { markup, text: String::new(), in_list: false }
    }

    pub(super) fn heading(&mut self, title: &str) {
        let mark = if self.markup == Markup::Markdown { "##" } else { "h3." };
        self.paragraph(&format!("{mark} {title}"));
    }

    /// A paragraph of our own words, or of [`plain`] ones.
    pub(super) fn text(&mut self, text: &str) {
        if !text.is_empty() {
            self.paragraph(text);
        }
    }

    /// `name: value`; nothing where there is no value.
    pub(super) fn item(&mut self, name: &str, text: &str) {
        let text = value(text, VALUE_CHARS_MAX);
        if text.is_empty() {
            return;
        }
        if !self.in_list && !self.text.is_empty() {
            self.text.push('\n');
        }
        self.in_list = true;
        let name = plain(name);
        self.text.push_str(&match self.markup {
            Markup::Markdown => format!("- {name}: `{text}`\n"),
            Markup::Textile => format!("* {name}: <code>{text}</code>\n"),
        });
    }

    pub(super) fn code(&mut self, lines: &[&str]) {
        let lines: Vec<String> = lines.iter().map(|line| value(line, LINE_CHARS_MAX)).collect();
        let lines = lines.join("\n");
        self.paragraph(&match self.markup {
            Markup::Markdown => format!("```\n{lines}\n```"),
            Markup::Textile => format!("<pre>\n{lines}\n</pre>"),
        });
    }

    pub(super) fn finish(self) -> String {
        self.text.trim_end().to_owned()
    }

    fn paragraph(&mut self, text: &str) {
        if !self.text.is_empty() {
            self.text.push('\n');
        }
        self.in_list = false;
        self.text.push_str(text);
        self.text.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::{Page, plain};
    use crate::config::Markup;

    fn hostile(markup: Markup) -> String {
        let mut page = Page::new(markup);
        page.item("account", "`; <script>x</script> </code> \n## heading \u{202e}");
        page.code(&["```\n# out", "</pre> [link](x)"]);
        page.finish()
    }

    #[test]
    fn a_hostile_value_does_not_become_markup() {
        expect![[r#"
            - account: `'; ‹script›x‹/script› ‹/code›  ## heading`

            ```
            ''' # out
            ‹/pre› [link](x)
            ```"#]]
        .assert_eq(&hostile(Markup::Markdown));
        expect![[r#"
            * account: <code>'; ‹script›x‹/script› ‹/code›  ## heading</code>

            <pre>
            ''' # out
            ‹/pre› [link](x)
            </pre>"#]]
        .assert_eq(&hostile(Markup::Textile));
        assert_eq!(plain("a <b>[c](d) `e`\n"), "a bc(d) e");
    }
}
