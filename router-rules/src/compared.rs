//! Two snapshots of one catalog, compared: what a read must wait for that is read by the newer one.
//!
//! A relation or function that is new, has changed or has gone may lay bare or hide another one of the same
//! name, so all that are called alike count. What is found by no name (types, casts, operators) concerns all.

use crate::catalog::{Catalog, Function, Relation};
use crate::statement::Footprint;
use foldhash::{HashMap, HashSet, HashSetExt};
use std::hash::Hash;
use std::sync::Arc;

impl Catalog {
    /// What differs from an older snapshot of the same database.
    pub fn differs_from(&self, older: &Catalog) -> Footprint {
        let (new, old) = (&self.rows, &older.rows);
        if !are_alike(&new.types, &old.types)
            || !are_alike(&new.casts, &old.casts)
            || !are_alike(&new.operators, &old.operators)
            || !are_alike(&new.supports, &old.supports)
            || !are_alike(&new.builtins, &old.builtins)
        {
            return Footprint::Everything;
        }
        let functions = changed(&new.functions, &old.functions, |function: &Function| function.oid);
        if functions.iter().any(|function| function.extension.is_some()) {
            return Footprint::Everything;
        }
        let relations = changed(&new.relations, &old.relations, |relation: &Relation| relation.oid);
        let names = functions.iter().map(|f| &f.name).chain(relations.iter().map(|r| &r.name));
        self.called(&names.map(|name| Arc::from(name.as_str())).collect::<Vec<Arc<str>>>())
    }

    /// All relations and functions by these names.
    pub fn called(&self, names: &[Arc<str>]) -> Footprint {
        let functions = names.iter().flat_map(|name| self.functions(name)).map(|function| function.oid);
        let relations = names.iter().flat_map(|name| self.relations(name)).map(|relation| relation.oid);
        let mut oids: Vec<u32> = functions.chain(relations).collect();
        oids.sort_unstable();
        oids.dedup();
        Footprint::Relations(oids.into())
    }
}

/// The same rows, in whatever order.
fn are_alike<T: Eq + Hash>(new: &[T], old: &[T]) -> bool {
    new == old || (new.len() == old.len() && set(new) == set(old))
}

fn set<T: Eq + Hash>(rows: &[T]) -> HashSet<&T> {
    let mut set = HashSet::with_capacity(rows.len());
    set.extend(rows);
    set
}

/// Those that are not the same in both.
fn changed<'r, T: PartialEq>(new: &'r [T], old: &'r [T], oid: fn(&T) -> u32) -> Vec<&'r T> {
    let before: HashMap<u32, &T> = old.iter().map(|row| (oid(row), row)).collect();
    let now: HashSet<u32> = new.iter().map(oid).collect();
    let mut changed: Vec<&T> = old.iter().filter(|row| !now.contains(&oid(row))).collect();
    for row in new {
        match before.get(&oid(row)) {
            Some(old) if *old == row => {}
            // By its former name as well.
            Some(old) => changed.extend([*old, row]),
            None => changed.push(row),
        }
    }
    changed
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::{Rows, Type};

    fn relation(oid: u32, schema: &str, name: &str) -> Relation {
        let (schema, name) = (schema.to_owned(), name.to_owned());
        Relation { oid, schema, name, kind: 'r', persistence: 'p', ..Relation::default() }
    }

    fn catalog(relations: &[Relation]) -> Catalog {
        Catalog::build(Rows { relations: relations.to_vec(), ..Rows::default() }, 1)
    }

    fn of(oids: &[u32]) -> Footprint {
        Footprint::Relations(oids.into())
    }

    #[test]
    fn what_is_new_or_gone_or_renamed_counts_with_all_of_its_name() {
        let [t, u, hiding] = [relation(1, "public", "t"), relation(2, "public", "u"), relation(3, "a", "t")];
        let before = catalog(&[t.clone(), u.clone()]);
        assert_eq!(before.differs_from(&catalog(&[u.clone(), t.clone()])), of(&[]));
        let hidden = catalog(&[t.clone(), u.clone(), hiding.clone()]);
        assert_eq!(hidden.differs_from(&before), of(&[1, 3]));
        assert_eq!(before.differs_from(&hidden), of(&[1]));
        let renamed = catalog(&[relation(1, "public", "u2"), u.clone()]);
        assert_eq!(renamed.differs_from(&before), of(&[1]));
        let taken = catalog(&[relation(2, "public", "t"), hiding]);
        assert_eq!(taken.differs_from(&before), of(&[2, 3]));
    }

    #[test]
    fn a_change_of_types_concerns_everything() {
        let mut rows = Rows { relations: vec![relation(1, "public", "t")], ..Rows::default() };
        let before = Catalog::build(rows.clone(), 1);
        rows.types.push(Type { name: "d".into(), kind: 'd', ..Type::default() });
        assert_eq!(Catalog::build(rows, 2).differs_from(&before), Footprint::Everything);
    }
}
