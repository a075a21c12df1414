//! A walk through a structure by its own `Serialize`, beside a table of its
//! fields: nothing of it is copied, and what is done is not entered.

use super::{Field, Fields};
use serde::ser::{self, Impossible, Serialize, Serializer};
use std::fmt;

/// What becomes of a field that is not done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// See [`Field::Ignored`].
    Ignored(&'static str),
    /// See [`Field::Refused`].
    Refused(&'static str),
    /// The table does not have it.
    Unknown,
}

/// The fields of `value`, a structure with the fields `known` and called
/// `name`, that ask for something that is not done, by their places.
///
/// # Errors
/// A value that is none of JSON.
pub fn walk(
    value: &(impl Serialize + ?Sized),
    known: &'static Fields,
    name: &str,
) -> Result<Vec<(String, Fate)>, fmt::Error> {
    let mut found = Vec::new();
    value.serialize(Walk {
        known: Known::Fields(known),
        place: &FieldPath::Top(name),
        found: &mut found,
    })?;
    Ok(found)
}

/// What is known of the members of a value.
#[derive(Clone, Copy)]
enum Known {
    /// They are not looked at.
    Nothing,
    /// A structure's, or those of each structure of a list.
    Fields(&'static Fields),
    /// Their names are the author's choice; these are the fields of each.
    Each(&'static Fields),
}

/// The place of a value in a spec.
enum FieldPath<'a> {
    Top(&'a str),
    Member(&'a FieldPath<'a>, &'a str),
    Item(&'a FieldPath<'a>, usize),
}

impl fmt::Display for FieldPath<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FieldPath::Top(name) => f.write_str(name),
            FieldPath::Member(FieldPath::Top(""), name) => f.write_str(name),
            FieldPath::Member(above, name) => write!(f, "{above}.{name}"),
            FieldPath::Item(above, index) => write!(f, "{above}[{index}]"),
        }
    }
}

/// Looks at one value; says whether it asks for anything.
struct Walk<'a> {
    known: Known,
    place: &'a FieldPath<'a>,
    found: &'a mut Vec<(String, Fate)>,
}

impl Walk<'_> {
    fn enter(
        &mut self,
        value: &(impl Serialize + ?Sized),
        known: Known,
        place: &FieldPath<'_>,
    ) -> Result<bool, fmt::Error> {
        value.serialize(Walk {
            known,
            place,
            found: self.found,
        })
    }

    fn member(&mut self, name: &str, value: &(impl Serialize + ?Sized)) -> fmt::Result {
        let place = FieldPath::Member(self.place, name);
        let fields = match self.known {
            Known::Nothing => return Ok(()),
            Known::Each(fields) => {
                return self.enter(value, Known::Fields(fields), &place).map(drop);
            }
            Known::Fields(fields) => fields,
        };
        let row = fields.iter().find(|(known, _)| *known == name);
        let fate = match row.map(|(_, field)| field) {
            Some(Field::Done) => return Ok(()),
            Some(Field::In(fields)) => {
                return self.enter(value, Known::Fields(fields), &place).map(drop);
            }
            Some(Field::Each(fields)) => {
                return self.enter(value, Known::Each(fields), &place).map(drop);
            }
            Some(Field::Ignored(why)) => Fate::Ignored(why),
            Some(Field::Refused(why)) => Fate::Refused(why),
            None => Fate::Unknown,
        };
        if self.enter(value, Known::Nothing, &place)? {
            self.found.push((place.to_string(), fate));
        }
        Ok(())
    }
}

/// A list, a map or a structure.
struct Members<'a> {
    walk: Walk<'a>,
    /// How many there were.
    count: usize,
    /// The name of the next one of a map.
    name: String,
}

impl<'a> From<Walk<'a>> for Members<'a> {
    fn from(walk: Walk<'a>) -> Self {
        Members {
            walk,
            count: 0,
            name: String::new(),
        }
    }
}

impl ser::SerializeSeq for Members<'_> {
    type Ok = bool;
    type Error = fmt::Error;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> fmt::Result {
        let known = self.walk.known;
        let place = FieldPath::Item(self.walk.place, self.count);
        self.count += 1;
        match known {
            Known::Nothing => Ok(()),
            known => self.walk.enter(value, known, &place).map(drop),
        }
    }

    fn end(self) -> Result<bool, fmt::Error> {
        Ok(self.count > 0)
    }
}

impl ser::SerializeMap for Members<'_> {
    type Ok = bool;
    type Error = fmt::Error;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> fmt::Result {
        self.name = Name(key).to_string();
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> fmt::Result {
        let name = std::mem::take(&mut self.name);
        self.walk.member(&name, value)
    }

    fn end(self) -> Result<bool, fmt::Error> {
        Ok(true)
    }
}

impl ser::SerializeStruct for Members<'_> {
    type Ok = bool;
    type Error = fmt::Error;

    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        name: &'static str,
        value: &T,
    ) -> fmt::Result {
        self.walk.member(name, value)
    }

    fn end(self) -> Result<bool, fmt::Error> {
        Ok(true)
    }
}

/// The name of a member, as its text.
struct Name<'a, T: ?Sized>(&'a T);

impl<T: Serialize + ?Sized> fmt::Display for Name<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.serialize(f)
    }
}

macro_rules! asks {
    ($($name:ident $kind:ty,)*) => {
        $(fn $name(self, _: $kind) -> Result<bool, fmt::Error> {
            Ok(true)
        })*
    };
}

/// Of the kinds of values that serde has, those of JSON.
impl<'a> Serializer for Walk<'a> {
    type Ok = bool;
    type Error = fmt::Error;
    type SerializeSeq = Members<'a>;
    type SerializeMap = Members<'a>;
    type SerializeStruct = Members<'a>;
    type SerializeTuple = Impossible<bool, fmt::Error>;
    type SerializeTupleStruct = Impossible<bool, fmt::Error>;
    type SerializeTupleVariant = Impossible<bool, fmt::Error>;
    type SerializeStructVariant = Impossible<bool, fmt::Error>;

    asks! {
        serialize_bool bool, serialize_i8 i8, serialize_i16 i16, serialize_i32 i32,
        serialize_i64 i64, serialize_u8 u8, serialize_u16 u16, serialize_u32 u32,
        serialize_u64 u64, serialize_f32 f32, serialize_f64 f64, serialize_char char,
    }

    fn serialize_str(self, text: &str) -> Result<bool, fmt::Error> {
        Ok(!text.is_empty())
    }

    fn serialize_bytes(self, bytes: &[u8]) -> Result<bool, fmt::Error> {
        Ok(!bytes.is_empty())
    }

    fn serialize_none(self) -> Result<bool, fmt::Error> {
        Ok(false)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<bool, fmt::Error> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<bool, fmt::Error> {
        Ok(false)
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<bool, fmt::Error> {
        Ok(false)
    }

    fn serialize_unit_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
    ) -> Result<bool, fmt::Error> {
        Ok(true)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<bool, fmt::Error> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> Result<bool, fmt::Error> {
        Err(fmt::Error)
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Members<'a>, fmt::Error> {
        Ok(self.into())
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Members<'a>, fmt::Error> {
        Ok(self.into())
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Members<'a>, fmt::Error> {
        Ok(self.into())
    }

    fn serialize_tuple(self, _: usize) -> Result<Self::SerializeTuple, fmt::Error> {
        Err(fmt::Error)
    }

    fn serialize_tuple_struct(
        self,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleStruct, fmt::Error> {
        Err(fmt::Error)
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleVariant, fmt::Error> {
        Err(fmt::Error)
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeStructVariant, fmt::Error> {
        Err(fmt::Error)
    }
}
