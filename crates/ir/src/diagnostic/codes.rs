//! Every code that a finding can carry, in one place.
//!
//! Codes of the phases *text* (E0xx and the lower E1xx) that expressions, types and patterns raise are those
//! of the language's compiler and keep its numbers; the rest are ours. `docs/ir.md` shows this table, and a
//! test compares the two.

macro_rules! codes {
    ($($name:ident = $code:literal $meaning:literal;)*) => {
        $(#[doc = $meaning] pub const $name: &str = $code;)*

        /// All codes with their meanings, in the order of the table.
        pub const ALL: &[(&str, &str)] = &[$(($name, $meaning)),*];
    };
}

codes! {
    UNEXPECTED_CHARACTER = "E001" "An expression holds a character that cannot stand there.";
    UNTERMINATED_STRING = "E002" "A string in an expression does not end.";
    UNTERMINATED_COMMENT = "E003" "A comment in an expression does not end.";
    INVALID_ESCAPE = "E004" "A string in an expression holds an unknown escape.";
    INVALID_NUMBER = "E005" "A number, date or duration in an expression is malformed or out of range.";
    RESERVED_WORD = "E006" "A reserved word or a name that is always there is used as a variable's name.";
    UNTERMINATED_INTERPOLATION = "E008" "A `${` in a template is not closed.";
    UNEXPECTED_TOKEN = "E100" "An expression goes on where it should have ended, or the other way round.";
    EXPECTED_TOKEN = "E101" "An expression lacks a particular sign.";
    EXPECTED_EXPRESSION = "E102" "An expression is missing.";
    EXPECTED_TYPE = "E103" "A type is missing or malformed.";
    EXPECTED_IDENTIFIER = "E105" "A name is missing or malformed.";
    INVALID_PATTERN = "E106" "The pattern of a `match` arm is malformed.";
    NESTED_TOO_DEEP = "E108" "An expression or a type is nested too deeply.";
    TEXT_TOO_LONG = "E109" "The text of an expression or a type is too long.";
    WRONG_SHAPE = "E150" "A field holds another kind of JSON value than it must.";
    MISSING_FIELD = "E151" "A required field is missing.";
    INVALID_VALUE = "E152" "A field holds a value that is not among the allowed ones.";
    UNKNOWN_KIND = "E153" "A kind is not one of the language.";
    SCHEMA_VERSION = "E154" "The schema version is not one that this platform reads.";
    TOO_DEEP = "E155" "The document is nested deeper than 128 levels.";
    UNKNOWN_KEY = "W100" "A key is not known; it is kept, and has no effect.";
    UNKNOWN_NAME = "E200" "An expression uses a name that is not bound there.";
    DUPLICATE_NAME = "E201" "Two declarations of one kind have the same name.";
    UNKNOWN_FLOW = "E202" "A flow is not declared.";
    UNKNOWN_MEMORY = "E203" "A memory variable is not declared.";
    UNKNOWN_DECLARATION = "E204" "A configuration parameter, reference or other always-present field is not declared.";
    UNKNOWN_TYPE = "E206" "A type is not declared.";
    UNKNOWN_FUNCTION = "E207" "A function does not exist.";
    UNKNOWN_PLUGIN = "E208" "A plugin is not declared.";
    UNKNOWN_ROLE = "E209" "A model is not declared for the role.";
    MAYBE_UNBOUND = "W200" "A name is bound on some of the ways that lead here only.";
    HIDDEN_NAME = "W201" "A parameter hides a name that is always there.";
    CALL_NOT_THERE = "W202" "A call names a Core, a version or a flow that the tenant does not have when the Core starts.";
    TYPE_MISMATCH = "E300" "A value has a type that cannot fit where it is used.";
    CALL_INPUT = "E301" "A call's input does not fit the parameters of the flow.";
    ARGUMENTS = "E302" "A function or method has the wrong number of arguments.";
    UNKNOWN_METHOD = "E303" "No value has such a method.";
    DEFAULT_TYPE = "E304" "A default does not fit its declared type.";
    ENDLESS_TYPE = "E305" "A type refers to itself without anything in between.";
    UNDECLARED_MEMBER = "W300" "A field is read that the value's declared type does not name.";
    CALL_DOES_NOT_FIT = "W301" "A call's input does not fit the other Core's flow as that is when the Core starts.";
    NONDETERMINISM = "E400" "A value that nothing records is used where a repeat must give the same.";
    NOT_EXHAUSTIVE = "E401" "A `match` over an enum or a truth value leaves out some of its values.";
    ENTITY_KEY = "E402" "An entity Core's key is no parameter of any flow.";
    READ_ONLY = "E403" "Something read-only is written.";
    LOOP_BOUND = "E404" "A `while` has no bound, or one outside 1 to 100000.";
    MODEL_IN_RIGID = "E405" "A model is called inside `rigid`.";
    OUTSIDE_LOOP = "E406" "A `break` or `continue` stands outside of any loop.";
    STRAY_LAMBDA = "E407" "A lambda stands where it is not an argument.";
    CHECKPOINT_OPTION = "E408" "A checkpoint handles or repeats an option wrongly.";
    CHECKPOINT_TIMEOUT = "E409" "What a checkpoint does when its time is up does not fit the checkpoint.";
    ENDLESS_CALLS = "E410" "Flows call each other in a circle without ever waiting for a person.";
    MEMORY_OPERATION = "E411" "A memory operation does not fit the variable's type or lacks an operand.";
    DUPLICATE_ID = "E412" "Two blocks of a flow have the same id.";
    SECRET_USED = "E413" "A secret is read by an expression.";
    BUDGET = "E414" "A budget bounds nothing.";
    APPROVAL = "E416" "What a checkpoint's answer allows does not fit the checkpoint.";
    FAILURE_HANDLER = "E417" "A handler of a model's bad answers says what cannot be honoured.";
    AWAIT = "E418" "There is less to wait for than is waited for.";
    UNREACHABLE = "W400" "What stands here never runs.";
    UNREACHABLE_HANDLER = "W401" "A handler or arm is never reached, since an earlier one takes everything.";
    NO_VALUE = "W402" "A flow declares what it returns, but can end without a value.";
    FIELD_NOT_RUN = "E492" "The field has a meaning that this version does not act on.";
    TRIGGER_NOT_FIRED = "W490" "The trigger cannot be fired as it stands.";
    HEARS_NOTHING = "W491" "A subscription names what is no address of a Core, and hears nothing.";
}
