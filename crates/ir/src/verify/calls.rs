//! Calls of the program's own flows, and circles of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::block::{Block, BlockKind, Body, CoreCall};
use crate::core_uri;
use crate::diagnostic::codes;
use crate::graph::back_edges;
use crate::types::Type;

use super::known;
use super::{Verifier, child};

impl Verifier<'_> {
    /// Checks a call; gives the type of its value.
    pub(super) fn core_call(&mut self, call: &CoreCall, pointer: &str) -> Option<Type> {
        let mut given = BTreeMap::new();
        for (name, value) in &call.input_bindings {
            let place = child(&child(pointer, "input_bindings"), name);
            given.insert(Arc::clone(name), (self.expr(value, &place), place));
        }
        if let Some(key) = &call.instance_key {
            self.expr(key, &child(pointer, "instance_key"));
        }
        // What another Core declares is only known where it is hosted.
        if &*call.target != core_uri::SELF {
            return call.is_async.then(handle);
        }
        let module = self.module;
        let Some(flow) = self.flows.get(&*call.flow_name).copied() else {
            self.target(&call.flow_name, &child(pointer, "flow_name"));
            return None;
        };
        if self.doubts.at(&child(&flow.pointer, "params")) {
            return None;
        }
        for param in &flow.params {
            let needed = param.default.is_none()
                && !matches!(
                    known::resolve(&param.ty, &module.types),
                    Type::Optional(_) | Type::Json | Type::Union(_)
                );
            match given.remove(&param.name) {
                Some((ty, place)) => self.wants(ty.as_ref(), &param.ty, &place, "the input"),
                None if needed => {
                    let message = format!("the flow {} needs the parameter {:?}", flow.name, param.name);
                    self.error(codes::CALL_INPUT, pointer, message);
                }
                None => {}
            }
        }
        for (name, (_, place)) in given {
            let message = format!("the flow {} has no parameter {name:?}", flow.name);
            self.error(codes::CALL_INPUT, &place, message);
        }
        if call.is_async { Some(handle()) } else { flow.returns.as_ref().and_then(known::remembered) }
    }

    /// Reports flows that call each other in a circle without a person in between: each call waits for the
    /// next, and none ever ends it. A call behind a checkpoint that every run meets is no part of a circle.
    pub(super) fn endless_calls(&mut self) {
        let mut calls = Vec::new();
        for (name, flow) in &self.flows {
            let mut own = Vec::new();
            collect(&flow.body, &mut own);
            calls.push((*name, own));
        }
        let edges =
            calls.iter().map(|(name, own)| (*name, own.iter().map(|(to, _)| &**to).collect())).collect();
        let places: BTreeMap<&str, _> = calls.iter().map(|(name, own)| (*name, own)).collect();
        for (from, index) in back_edges(&edges) {
            let Some((to, pointer)) = places.get(from).and_then(|own| own.get(index)) else { continue };
            let message =
                format!("{from} waits for {to}, which waits for {from} in turn, and no one ends it");
            self.error(codes::ENDLESS_CALLS, pointer, message);
        }
    }
}

/// The value of an asynchronous call, by which its answer is waited for.
fn handle() -> Type {
    let fields = [("handle", Type::Int), ("target", Type::String), ("flow_name", Type::String)];
    Type::Object(fields.into_iter().map(|(name, ty)| (Arc::from(name), ty)).collect())
}

/// The synchronous calls of a body, up to a checkpoint that every run meets.
fn collect(body: &Body, calls: &mut Vec<(Arc<str>, Arc<str>)>) -> bool {
    for block in body {
        if collect_block(block, calls) {
            return true;
        }
    }
    false
}

/// Whether every run of the block waits for a person.
fn collect_block(block: &Block, calls: &mut Vec<(Arc<str>, Arc<str>)>) -> bool {
    let waits = match &block.kind {
        BlockKind::CoreCall(call) => {
            if &*call.target == core_uri::SELF && !call.is_async {
                let pointer = Arc::from(child(&block.pointer, "flow_name"));
                calls.push((Arc::clone(&call.flow_name), pointer));
            }
            false
        }
        BlockKind::Checkpoint(_) => true,
        BlockKind::Match { arms, otherwise, .. } => {
            let arms = arms.iter().map(|arm| &arm.body).chain(otherwise);
            // Every arm is looked at, whichever of them waits.
            let waits: Vec<_> = arms.map(|body| collect(body, calls)).collect();
            !waits.is_empty() && waits.into_iter().all(|waits| waits)
        }
        BlockKind::Foreach { body, .. } | BlockKind::While { body, .. } => {
            collect(body, calls);
            false
        }
        BlockKind::Try { body, catch, finally } => {
            let waits = collect(body, calls);
            for handler in catch {
                collect(&handler.body, calls);
            }
            if let Some(body) = finally {
                collect(body, calls);
            }
            waits && catch.is_empty()
        }
        // All branches end before the block does.
        BlockKind::Parallel { branches, .. } => {
            let waits: Vec<_> = branches.iter().map(|branch| collect(&branch.body, calls)).collect();
            waits.into_iter().any(|waits| waits)
        }
        BlockKind::Budget { body, on_exceeded, .. } => {
            let waits = collect(body, calls);
            if let Some(body) = on_exceeded {
                collect(body, calls);
            }
            waits && on_exceeded.is_none()
        }
        BlockKind::Generate(_) => {
            block.kind.bodies().into_iter().for_each(|body| {
                collect(body, calls);
            });
            false
        }
        BlockKind::Rigid { .. }
        | BlockKind::Debug { .. }
        | BlockKind::ModelCall(_)
        | BlockKind::AwaitResponses(_) => false,
    };
    waits && block.when.is_none()
}
