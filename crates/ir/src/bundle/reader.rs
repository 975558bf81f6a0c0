//! `MessagePack` to document, as a stream with every bound checked before memory is taken.

use std::io::{BufRead, Read};

use rmp::Marker;
use serde_json::{Map, Number, Value};

use super::budget::Budget;
use super::{BundleError, MAX_DEPTH, MAX_UNPACKED};

/// The first piece of a text, and the most by which it grows before its bytes have arrived.
const PIECE: usize = 16 * 1024;
/// The largest window that a frame may ask for: 8 MiB, which RFC 8878 recommends every decoder to support.
const WINDOW_LOG: u32 = 23;

/// Reads a plain body.
pub(super) fn read(body: &[u8], budget: &mut Budget) -> Result<Value, BundleError> {
    let mut input = body;
    let value = Reader { input: &mut input, offset: 0, budget }.document()?;
    Ok(value)
}

/// Reads a body that is one Zstandard frame, without ever holding it unpacked as a whole.
pub(super) fn read_compressed(frame: &[u8], budget: &mut Budget) -> Result<Value, BundleError> {
    let unreadable = |error: std::io::Error| BundleError::Body {
        offset: 0,
        pointer: String::new(),
        message: format!("the frame cannot be unpacked: {error}"),
    };
    let mut decoder = zstd::stream::read::Decoder::with_buffer(frame).map_err(unreadable)?.single_frame();
    decoder.window_log_max(WINDOW_LOG).map_err(unreadable)?;
    let mut input = std::io::BufReader::with_capacity(PIECE, decoder);
    let value = Reader { input: &mut input, offset: 0, budget }.document()?;
    let mut rest = input.into_inner().finish();
    if rest.fill_buf().is_ok_and(<[u8]>::is_empty) {
        return Ok(value);
    }
    Err(BundleError::Body {
        offset: 0,
        pointer: String::new(),
        message: "there are bytes behind the compressed frame".to_owned(),
    })
}

/// A step on the way to a value, for error messages.
enum Step {
    Key(String),
    Index(usize),
}

/// An error on its way out; each container that it leaves adds its step.
struct Fault {
    offset: usize,
    path: Vec<Step>,
    cause: Cause,
}

enum Cause {
    Malformed(String),
    Bound(BundleError),
}

impl Fault {
    fn within(mut self, step: Step) -> Self {
        self.path.push(step);
        self
    }

    fn into_error(self) -> BundleError {
        let message = match self.cause {
            Cause::Bound(error) => return error,
            Cause::Malformed(message) => message,
        };
        let mut pointer = String::new();
        for step in self.path.iter().rev() {
            pointer.push('/');
            match step {
                // A key may be as long as the whole body; what identifies it does not need to be.
                Step::Key(key) => pointer.push_str(&shortened(key).replace('~', "~0").replace('/', "~1")),
                Step::Index(index) => pointer.push_str(&index.to_string()),
            }
        }
        BundleError::Body { offset: self.offset, pointer, message }
    }
}

fn shortened(key: &str) -> &str {
    key.char_indices().nth(64).map_or(key, |(end, _)| &key[..end])
}

struct Reader<'a> {
    input: &'a mut dyn Read,
    offset: usize,
    budget: &'a mut Budget,
}

impl Reader<'_> {
    fn document(mut self) -> Result<Value, BundleError> {
        let value = self.value(1).map_err(Fault::into_error)?;
        let mut one = [0];
        match self.input.read(&mut one) {
            Ok(0) => Ok(value),
            Ok(_) => Err(self.malformed("there are bytes behind the document").into_error()),
            Err(error) => Err(self.malformed(format!("the body cannot be read: {error}")).into_error()),
        }
    }

    fn malformed(&self, message: impl Into<String>) -> Fault {
        Fault { offset: self.offset, path: Vec::new(), cause: Cause::Malformed(message.into()) }
    }

    fn bounded(&self, error: BundleError) -> Fault {
        Fault { offset: self.offset, path: Vec::new(), cause: Cause::Bound(error) }
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Result<(), Fault> {
        self.input.read_exact(buffer).map_err(|error| match error.kind() {
            std::io::ErrorKind::UnexpectedEof => self.malformed("the body ends in the middle of a value"),
            _ => self.malformed(format!("the body cannot be read: {error}")),
        })?;
        self.offset += buffer.len();
        if self.offset > MAX_UNPACKED {
            let what = "the unpacked document in bytes";
            return Err(self.bounded(BundleError::TooLarge { what, limit: MAX_UNPACKED }));
        }
        Ok(())
    }

    fn bytes<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        let mut buffer = [0; N];
        self.fill(&mut buffer)?;
        Ok(buffer)
    }

    /// A length of one, two or four bytes, big-endian.
    fn length<const N: usize>(&mut self) -> Result<usize, Fault> {
        Ok(self.bytes::<N>()?.iter().fold(0, |length, byte| (length << 8) | usize::from(*byte)))
    }

    fn value(&mut self, level: usize) -> Result<Value, Fault> {
        let marker = Marker::from_u8(self.bytes::<1>()?[0]);
        let value = match marker {
            Marker::Null => Value::Null,
            Marker::False => Value::Bool(false),
            Marker::True => Value::Bool(true),
            Marker::FixPos(value) => Value::from(value),
            Marker::FixNeg(value) => Value::from(value),
            Marker::U8 => Value::from(u8::from_be_bytes(self.bytes()?)),
            Marker::U16 => Value::from(u16::from_be_bytes(self.bytes()?)),
            Marker::U32 => Value::from(u32::from_be_bytes(self.bytes()?)),
            Marker::U64 => Value::from(u64::from_be_bytes(self.bytes()?)),
            Marker::I8 => Value::from(i8::from_be_bytes(self.bytes()?)),
            Marker::I16 => Value::from(i16::from_be_bytes(self.bytes()?)),
            Marker::I32 => Value::from(i32::from_be_bytes(self.bytes()?)),
            Marker::I64 => Value::from(i64::from_be_bytes(self.bytes()?)),
            Marker::F32 => {
                let value = f32::from_be_bytes(self.bytes()?);
                self.double(f64::from(value))?
            }
            Marker::F64 => {
                let value = f64::from_be_bytes(self.bytes()?);
                self.double(value)?
            }
            Marker::FixStr(length) => Value::String(self.text(usize::from(length))?),
            Marker::Str8 | Marker::Str16 | Marker::Str32 => {
                let length = self.text_length(marker)?;
                Value::String(self.text(length)?)
            }
            Marker::FixArray(length) => self.array(usize::from(length), level)?,
            Marker::Array16 => {
                let length = self.length::<2>()?;
                self.array(length, level)?
            }
            Marker::Array32 => {
                let length = self.length::<4>()?;
                self.array(length, level)?
            }
            Marker::FixMap(length) => self.map(usize::from(length), level)?,
            Marker::Map16 => {
                let length = self.length::<2>()?;
                self.map(length, level)?
            }
            Marker::Map32 => {
                let length = self.length::<4>()?;
                self.map(length, level)?
            }
            Marker::Bin8 | Marker::Bin16 | Marker::Bin32 => {
                return Err(self.malformed("binary values are not part of a document"));
            }
            Marker::Reserved => return Err(self.malformed("the marker 0xc1 is never used")),
            _ => return Err(self.malformed("extension values are not part of a document")),
        };
        Ok(value)
    }

    fn double(&self, value: f64) -> Result<Value, Fault> {
        Number::from_f64(value)
            .map(Value::Number)
            .ok_or_else(|| self.malformed("infinities and NaN are not part of a document"))
    }

    fn text_length(&mut self, marker: Marker) -> Result<usize, Fault> {
        match marker {
            Marker::FixStr(length) => Ok(usize::from(length)),
            Marker::Str8 => self.length::<1>(),
            Marker::Str16 => self.length::<2>(),
            Marker::Str32 => self.length::<4>(),
            _ => Err(self.malformed("a key must be a text")),
        }
    }

    /// Reads a text piece by piece: the declared length is believed only as its bytes arrive.
    fn text(&mut self, length: usize) -> Result<String, Fault> {
        let mut text: Vec<u8> = Vec::new();
        while text.len() < length {
            let have = text.len();
            let piece = (length - have).min(have.max(PIECE));
            let old = text.capacity();
            self.budget.text(have + piece, self.offset + piece).map_err(|error| self.bounded(error))?;
            text.reserve_exact(piece);
            self.budget.release(old);
            text.resize(have + piece, 0);
            self.fill(&mut text[have..])?;
        }
        String::from_utf8(text).map_err(|_| self.malformed("a text is not UTF-8"))
    }

    fn deeper(&self, level: usize) -> Result<(), Fault> {
        if level < MAX_DEPTH {
            return Ok(());
        }
        Err(self.bounded(BundleError::TooLarge { what: "the nesting in levels", limit: MAX_DEPTH }))
    }

    fn array(&mut self, length: usize, level: usize) -> Result<Value, Fault> {
        self.deeper(level)?;
        let mut list = Vec::new();
        for index in 0..length {
            self.budget.element(&mut list, self.offset).map_err(|error| self.bounded(error))?;
            list.push(self.value(level + 1).map_err(|fault| fault.within(Step::Index(index)))?);
        }
        Ok(Value::Array(list))
    }

    fn map(&mut self, length: usize, level: usize) -> Result<Value, Fault> {
        self.deeper(level)?;
        let mut map = Map::new();
        for _ in 0..length {
            let marker = Marker::from_u8(self.bytes::<1>()?[0]);
            let key_length = self.text_length(marker)?;
            let key = self.text(key_length)?;
            if map.contains_key(&key) {
                return Err(self.malformed(format!("the key {:?} stands twice", shortened(&key))));
            }
            self.budget.entry(map.len(), self.offset).map_err(|error| self.bounded(error))?;
            match self.value(level + 1) {
                Ok(value) => map.insert(key, value),
                Err(fault) => return Err(fault.within(Step::Key(key))),
            };
        }
        Ok(Value::Object(map))
    }
}
