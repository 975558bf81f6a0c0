//! Which columns the tables have, and of what kind, from what the queries are checked against.

use diesel::expression::Expression;
use diesel::sql_types::{BigInt, Binary, Integer, Jsonb, Nullable, SqlType, Text, is_nullable};

use crate::instant::Moment;

/// How the values of a column are written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Number,
    Moment,
    Json,
    Bytes,
}

/// A column of a table.
#[derive(Debug, Clone, Copy)]
pub(super) struct Column {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
}

/// An SQL type that rows are made of.
pub(super) trait Kinded {
    const KIND: Kind;
}

impl Kinded for Text {
    const KIND: Kind = Kind::Text;
}
impl Kinded for Integer {
    const KIND: Kind = Kind::Number;
}
impl Kinded for BigInt {
    const KIND: Kind = Kind::Number;
}
impl Kinded for Moment {
    const KIND: Kind = Kind::Moment;
}
impl Kinded for Jsonb {
    const KIND: Kind = Kind::Json;
}
impl Kinded for Binary {
    const KIND: Kind = Kind::Bytes;
}
impl<T: Kinded + SqlType<IsNull = is_nullable::NotNull>> Kinded for Nullable<T> {
    const KIND: Kind = T::KIND;
}

/// The columns of a table, as the queries know them.
pub(super) trait Columns {
    fn columns() -> Vec<Column>;
}

/// For tuples of two and more columns, up to as many as a table may have.
macro_rules! of_tuples {
    ($last:ident) => {};
    ($first:ident $($rest:ident)+) => {
        impl<$first, $($rest),+> Columns for ($first, $($rest),+)
        where
            $first: diesel::Column + Expression<SqlType: Kinded>,
            $($rest: diesel::Column + Expression<SqlType: Kinded>),+
        {
            fn columns() -> Vec<Column> {
                vec![
                    Column {
                        name: <$first as diesel::Column>::NAME,
                        kind: <<$first as Expression>::SqlType as Kinded>::KIND,
                    },
                    $(Column {
                        name: <$rest as diesel::Column>::NAME,
                        kind: <<$rest as Expression>::SqlType as Kinded>::KIND,
                    }),+
                ]
            }
        }
        of_tuples!($($rest)+);
    };
}

of_tuples!(A B C D E F G H I J K L M N O P Q R S T U V W X Y Z A1 B1 C1 D1 E1 F1);
