//! placeholder until the merge
#[derive(Debug)]
pub enum Rewrite {
    Keep,
    Strip { before: String },
    To { before: String },
}
impl Rewrite {
    pub fn new(_: &crate::config::Route) -> Self {
        Self::Keep
    }
    pub fn apply(&self, path: &str, rest: &str, query: Option<&str>) -> String {
        let mut out = match self {
            Self::Keep => path.to_owned(),
            Self::Strip { .. } => format!("/{rest}"),
            Self::To { before } => format!("{before}{rest}"),
        };
        if let Some(q) = query {
            out.push('?');
            out.push_str(q);
        }
        out
    }
}
pub fn is_ambiguous(_: &str) -> bool {
    false
}
