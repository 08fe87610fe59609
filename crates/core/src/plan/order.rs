//! In which order services stop and start.

use crate::{Error, Kind, Result};
use std::collections::{BTreeMap, BTreeSet};

/// Orders `needs` (service -> what it needs) so that everything needed comes first. Names that are
/// no service (sources) are ignored. Stopping goes the other way round.
///
/// # Errors
/// `Kind::Config` `E0605` if services need each other in a circle.
pub fn start_order(needs: &BTreeMap<String, Vec<String>>) -> Result<Vec<String>> {
    let mut order: Vec<String> = Vec::new();
    let mut left: BTreeSet<&String> = needs.keys().collect();
    while !left.is_empty() {
        let ready: Vec<&String> = left
            .iter()
            .copied()
            .filter(|name| !needs[*name].iter().any(|n| n != *name && left.contains(n)))
            .collect();
        if ready.is_empty() {
            let circle: Vec<&str> = left.iter().map(|s| s.as_str()).collect();
            return Err(Error::new(Kind::Config, "order the services")
                .with("services", circle.join(", "))
                .code("E0605")
                .hint("take one name out of `needs` so that the circle opens"));
        }
        for name in ready {
            left.remove(name);
            order.push(name.clone());
        }
    }
    Ok(order)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn needs(items: &[(&str, &[&str])]) -> BTreeMap<String, Vec<String>> {
        items.iter().map(|(n, l)| ((*n).to_owned(), l.iter().map(|s| (*s).to_owned()).collect())).collect()
    }

    #[test]
    fn needed_services_start_first_and_circles_are_refused() {
        let order =
            start_order(&needs(&[("beat", &["worker", "db"]), ("web", &["db"]), ("worker", &["web"])]));
        assert_eq!(order.unwrap(), ["web", "worker", "beat"]);
        let circle = start_order(&needs(&[("a", &["b"]), ("b", &["a"])])).unwrap_err();
        assert_eq!(circle.stable_code(), Some("E0605"));
        assert_eq!(start_order(&needs(&[("a", &["a"])])).unwrap(), ["a"]);
    }
}
