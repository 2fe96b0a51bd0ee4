//! Which keys there are, and what is said of one that there is not.

use toml::{Table, Value};

use super::{
    Config,
    error::Problem,
    section::{Field, Kind, Section},
    spelling::nearest,
};

/// What the names of environment variables begin with.
pub(super) const VARIABLE: &str = "FANTAIL_";

pub(super) fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

/// The setting or section of that path.
pub(super) fn field(path: &[&str]) -> Option<&'static Field> {
    let find = |fields: &'static [Field], name: &str| fields.iter().find(|field| field.name == name);
    match path {
        [section] => find(Config::FIELDS, section),
        [section, name] => match find(Config::FIELDS, section)?.kind {
            Kind::Table(fields) => find(fields, name),
            _ => None,
        },
        [section, _, name] => match find(Config::FIELDS, section)?.kind {
            Kind::Map { fields, .. } => find(fields, name),
            _ => None,
        },
        _ => None,
    }
}

/// Checks that every key is known and every value is what it should be.
pub(super) fn check(path: &str, table: &Table, fields: &'static [Field]) -> Result<(), Problem> {
    for (name, value) in table {
        let key = join(path, name);
        let Some(field) = fields.iter().find(|field| field.name == name) else {
            return Err(Problem { key, reason: unknown_key(path, name, fields) });
        };
        match (field.kind, value) {
            (Kind::Value { .. }, value) => check_value(key, value, field)?,
            (Kind::Table(fields), Value::Table(table)) => check(&key, table, fields)?,
            (Kind::Table(_), _) => {
                let reason = format!("has the type {}, expected the table [{name}]", value.type_str());
                return Err(Problem { key, reason });
            }
            (Kind::Tables { fields, .. }, value) => {
                let tables = value.as_array().map(|list| list.iter().map(Value::as_table).collect::<Option<Vec<_>>>());
                let Some(Some(tables)) = tables else {
                    let reason = format!("expected a list of tables, [[{name}]] or {name} = [{{…}}, {{…}}]");
                    return Err(Problem { key, reason });
                };
                for (index, table) in tables.into_iter().enumerate() {
                    check(&format!("{key}[{index}]"), table, fields)?;
                }
            }
            (Kind::Map { fields, .. }, value) => {
                let wrong = |key: String, value: &Value| {
                    let reason = format!("has the type {}, expected the table [{name}.NAME]", value.type_str());
                    Problem { key, reason }
                };
                let Value::Table(named) = value else { return Err(wrong(key, value)) };
                for (each, value) in named {
                    let key = join(&key, each);
                    let Value::Table(table) = value else { return Err(wrong(key, value)) };
                    check(&key, table, fields)?;
                }
            }
        }
    }
    Ok(())
}

/// Checks one value; of a list or a table of values, the one that is wrong is named.
fn check_value(key: String, value: &Value, field: &Field) -> Result<(), Problem> {
    let Err(reason) = (field.check)(value) else { return Ok(()) };
    let parts: Vec<(String, Value)> = match value {
        Value::Array(list) => {
            let alone = |value: &Value| Value::Array(vec![value.clone()]);
            list.iter().enumerate().map(|(index, value)| (format!("{key}[{index}]"), alone(value))).collect()
        }
        Value::Table(table) => {
            let alone = |(name, value): (&String, &Value)| Table::from_iter([(name.clone(), value.clone())]).into();
            table.iter().map(|(name, value)| (join(&key, name), alone((name, value)))).collect()
        }
        _ => Vec::new(),
    };
    let wrong =
        parts.into_iter().find_map(|(key, part)| (field.check)(&part).err().map(|reason| Problem { key, reason }));
    Err(wrong.unwrap_or(Problem { key, reason }))
}

fn unknown_key(path: &str, name: &str, fields: &'static [Field]) -> String {
    let names = || fields.iter().map(|field| field.name);
    let hint = match nearest(name, names()) {
        Some(name) => format!(", did you mean \"{name}\"?"),
        None => ",".to_owned(),
    };
    let place = match path.split('[').next() {
        Some("") | None => "at the top".to_owned(),
        Some(list) if list != path => format!("in [[{list}]]"),
        Some(section) => format!("in [{section}]"),
    };
    format!("unknown key{hint} known {place}: {}", names().collect::<Vec<_>>().join(", "))
}

/// What is wrong with an environment variable, whose section would be `section`.
pub(super) fn unknown_variable(name: &str, section: &str) -> String {
    let known: Vec<String> = Config::FIELDS
        .iter()
        .flat_map(|field| match field.kind {
            Kind::Table(fields) => {
                fields.iter().map(|setting| format!("{VARIABLE}{}__{}", field.name, setting.name)).collect()
            }
            Kind::Map { fields, .. } => {
                fields.iter().map(|setting| format!("{VARIABLE}{}__NAME__{}", field.name, setting.name)).collect()
            }
            _ => vec![format!("{VARIABLE}{}", field.name)],
        })
        .map(|name| name.to_ascii_uppercase())
        .collect();
    let hint = match nearest(name, known.iter().map(String::as_str)) {
        Some(name) => format!(", did you mean {name}?"),
        None => ",".to_owned(),
    };
    let within = format!("{VARIABLE}{}__", section.to_ascii_uppercase());
    let siblings: Vec<&str> = known.iter().map(String::as_str).filter(|name| name.starts_with(&within)).collect();
    if siblings.is_empty() {
        let sections: Vec<&str> = Config::FIELDS.iter().map(|field| field.name).collect();
        format!(
            "no such setting{hint} expected {VARIABLE}SECTION__KEY with one of the sections {} (two underscores stand for \
             a dot)",
            sections.join(", ")
        )
    } else {
        format!("no such setting{hint} known: {}", siblings.join(", "))
    }
}
