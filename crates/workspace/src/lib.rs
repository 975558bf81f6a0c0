//! ScaiWave: what a tenant has set of its AI, who takes part, which plugins there are, the rooms that all of it acts on,
//! and what a model is asked when it answers in one.
//!
//! Nothing is called and nothing is kept here.

pub mod ai_config;
pub mod compose;
pub mod helper;
pub mod note;
pub mod participant;
pub mod plugin;
pub mod room;
pub mod studio;

pub use participant::{
    AiChanges, AiProfile, HelperConfig, InvalidLocalId, LocalId, Participant, ParticipantKind, Prompt,
    ResponseMode, Temperature, Who,
};
pub use room::{
    Engagement, InvalidMessageText, InvalidParticipantRef, InvalidPower, Member, Message, MessageKind,
    MessageText, MessageUsage, NewMessage, ParticipantRef, Power, Room, RoomStatus, mentioned,
};
