//! What came of a rehearsal.

use std::fmt::Write;

/// What came of one scenario.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The scenario.
    pub name: String,
    /// Line in its file and what was not as written; absent: all was.
    pub failure: Option<(usize, String)>,
    /// The call as lines of text, each with its time in seconds.
    pub transcript: String,
    /// Simulated length in milliseconds.
    pub length_ms: u64,
    /// Steps that asked for a judge who was not there; they count as passed.
    pub unjudged: usize,
}

/// The reports of scenario files, each with its name, as JUnit XML. Times are simulated.
pub fn junit(files: &[(String, Vec<Report>)]) -> String {
    let mut xml = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n");
    for (file, reports) in files {
        suite(&escaped(file), reports, &mut xml);
    }
    xml.push_str("</testsuites>\n");
    xml
}

fn suite(file: &str, reports: &[Report], xml: &mut String) {
    let failures = reports.iter().filter(|report| report.failure.is_some()).count();
    let _ = writeln!(xml, "<testsuite name=\"{file}\" tests=\"{}\" failures=\"{failures}\">", reports.len());
    for report in reports {
        let (name, seconds) = (escaped(&report.name), report.length_ms as f64 / 1000.0);
        let _ = writeln!(xml, "  <testcase classname=\"{file}\" name=\"{name}\" time=\"{seconds:.2}\">");
        if let Some((line, why)) = &report.failure {
            let _ = writeln!(xml, "    <failure message=\"line {line}: {}\"/>", escaped(why));
        }
        let _ = writeln!(xml, "    <system-out>{}</system-out>\n  </testcase>", escaped(&report.transcript));
    }
    xml.push_str("</testsuite>\n");
}

/// Text for XML: its five signs as entities, and characters that XML does not have as a question mark.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&apos;"),
            '\n' | '\t' => out.push(c),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => out.push('?'),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn junit_is_well_formed_whatever_is_said() {
        let report = Report {
            name: "a \"b\" <c>".into(),
            failure: Some((7, "it's & \u{1}".into())),
            transcript: "]]> bye".into(),
            length_ms: 1500,
            unjudged: 0,
        };
        let xml = junit(&[("x.yaml".into(), vec![report])]);
        assert!(xml.contains("name=\"a &quot;b&quot; &lt;c&gt;\" time=\"1.50\""));
        assert!(xml.contains("<failure message=\"line 7: it&apos;s &amp; ?\"/>"));
        assert!(xml.contains("]]&gt; bye") && xml.contains("tests=\"1\" failures=\"1\""));
    }
}
