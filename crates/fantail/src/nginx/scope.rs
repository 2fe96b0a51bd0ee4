//! What holds at a place: directives of the blocks around it, from `http` inwards, as nginx inherits them. A directive
//! that stands in an inner block replaces those of its name further out, all of them where it may stand several times.

use super::tree::Directive;

/// The blocks around a place, the outermost first.
#[derive(Debug, Clone, Default)]
pub(super) struct Scope<'t> {
    levels: Vec<&'t [Directive]>,
}

impl<'t> Scope<'t> {
    /// One block further in.
    pub(super) fn within(&self, block: &'t [Directive]) -> Self {
        let mut levels = self.levels.clone();
        levels.push(block);
        Self { levels }
    }

    /// Those of the innermost block that has any.
    pub(super) fn all(&self, name: &str) -> Vec<&'t Directive> {
        let levels = self.levels.iter().rev();
        levels.map(|level| named(level, name).collect::<Vec<_>>()).find(|found| !found.is_empty()).unwrap_or_default()
    }

    /// The one that holds.
    pub(super) fn last(&self, name: &str) -> Option<&'t Directive> {
        self.all(name).pop()
    }

    /// Those of the innermost block alone.
    pub(super) fn own(&self, name: &str) -> Option<&'t Directive> {
        self.levels.last().and_then(|level| named(level, name).last())
    }

    /// The directives of the innermost block.
    pub(super) fn inner(&self) -> &'t [Directive] {
        self.levels.last().copied().unwrap_or_default()
    }

    /// The blocks around, the outermost first.
    pub(super) fn levels(&self) -> impl Iterator<Item = &'t [Directive]> {
        self.levels.iter().copied()
    }
}

/// The directives of that name.
pub(super) fn named<'t>(block: &'t [Directive], name: &str) -> impl Iterator<Item = &'t Directive> {
    block.iter().filter(move |directive| directive.name == name)
}

#[cfg(test)]
mod tests {
    use super::super::tests::tree;
    use super::*;

    #[test]
    fn scope_inherits_and_replaces_as_a_whole() {
        let tree = tree("add_header A 1; add_header B 2; gzip on; location / { add_header C 3; location /a { } }");
        let outer = Scope::default().within(&tree.top);
        let location = named(&tree.top, "location").next().unwrap();
        let inner = outer.within(location.children());
        let nested = inner.within(named(location.children(), "location").next().unwrap().children());
        let headers = |scope: &Scope| -> Vec<String> {
            scope.all("add_header").iter().map(|directive| directive.first().to_owned()).collect()
        };
        assert_eq!(headers(&outer), ["A", "B"]);
        assert_eq!(headers(&inner), ["C"]);
        assert_eq!(headers(&nested), ["C"]);
        assert_eq!(nested.last("gzip").map(Directive::first), Some("on"));
        assert!(nested.own("add_header").is_none());
    }
}
