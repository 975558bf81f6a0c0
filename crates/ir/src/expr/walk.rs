//! What an expression mentions, without evaluating it.

use std::collections::BTreeSet;

use super::{Expr, Template, TemplatePart};

/// Calls `visit` for the expression and everything in it, outermost first.
pub fn walk<'a>(expr: &'a Expr, visit: &mut dyn FnMut(&'a Expr)) {
    visit(expr);
    children(expr, &mut |child| walk(child, visit));
}

/// Calls `visit` for every expression of a template and everything in it.
pub fn walk_template<'a>(template: &'a Template, visit: &mut dyn FnMut(&'a Expr)) {
    for part in &template.0 {
        if let TemplatePart::Expr(expr) = part {
            walk(expr, visit);
        }
    }
}

/// The variables that must be bound outside the expression: every name that no lambda of its own binds.
/// `memory` is among them where memory is read.
pub fn free_names(expr: &Expr) -> BTreeSet<&str> {
    let mut names = BTreeSet::new();
    collect_free(expr, &mut Vec::new(), &mut names);
    names
}

/// The variables that must be bound outside the template.
pub fn template_free_names(template: &Template) -> BTreeSet<&str> {
    let mut names = BTreeSet::new();
    for part in &template.0 {
        if let TemplatePart::Expr(expr) = part {
            collect_free(expr, &mut Vec::new(), &mut names);
        }
    }
    names
}

/// The persistent variables that the expression reads.
pub fn memory_names(expr: &Expr) -> BTreeSet<&str> {
    let mut names = BTreeSet::new();
    walk(expr, &mut |expr| {
        if let Expr::Member { object, name, .. } = expr
            && matches!(&**object, Expr::Name(memory) if &**memory == "memory")
        {
            names.insert(&**name);
        }
    });
    names
}

/// Whether its value depends on the time or on chance.
pub fn is_nondeterministic(expr: &Expr) -> bool {
    let mut found = false;
    walk(expr, &mut |expr| {
        if let Expr::Call { function, args } = expr {
            found |= args.is_empty() && matches!(&**function, "now" | "today" | "uuid" | "random");
        }
    });
    found
}

fn collect_free<'a>(expr: &'a Expr, bound: &mut Vec<&'a str>, names: &mut BTreeSet<&'a str>) {
    match expr {
        Expr::Name(name) => {
            if !bound.contains(&&**name) {
                names.insert(name);
            }
        }
        Expr::Lambda { params, body } => {
            let outer = bound.len();
            bound.extend(params.iter().map(|param| &**param));
            collect_free(body, bound, names);
            bound.truncate(outer);
        }
        other => children(other, &mut |child| collect_free(child, bound, names)),
    }
}

fn children<'a>(expr: &'a Expr, visit: &mut dyn FnMut(&'a Expr)) {
    match expr {
        Expr::Literal(_) | Expr::Name(_) => {}
        Expr::Member { object, .. } => visit(object),
        Expr::Index { object, index, .. } => {
            visit(object);
            visit(index);
        }
        Expr::Unary { operand, .. } => visit(operand),
        Expr::Binary { left, right, .. } => {
            visit(left);
            visit(right);
        }
        Expr::Conditional { condition, then, otherwise } => {
            visit(condition);
            visit(then);
            visit(otherwise);
        }
        Expr::Method { object, args, .. } => {
            visit(object);
            args.iter().for_each(visit);
        }
        Expr::Call { args, .. } => args.iter().for_each(visit),
        Expr::Lambda { body, .. } => visit(body),
        Expr::Object(fields) => fields.iter().for_each(|(_, value)| visit(value)),
        Expr::Array(items) => items.iter().for_each(visit),
        Expr::Template(Template(parts)) => {
            for part in parts {
                if let TemplatePart::Expr(expr) = part {
                    visit(expr);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::expr::parse;

    #[test]
    fn names_that_lambdas_bind_are_not_free() {
        let expr = parse("xs.map((x, i) => x + y + `${z} ${i}`) ?? memory.seen[x]").unwrap();
        assert_eq!(free_names(&expr).into_iter().collect::<Vec<_>>(), ["memory", "x", "xs", "y", "z"]);
        assert_eq!(memory_names(&expr).into_iter().collect::<Vec<_>>(), ["seen"]);
    }

    #[test]
    fn chance_and_time_are_found_anywhere() {
        assert!(is_nondeterministic(&parse("xs.map(x => [{a: now()}])").unwrap()));
        assert!(!is_nondeterministic(&parse("datetime('2026-01-01T00:00:00Z')").unwrap()));
    }
}
