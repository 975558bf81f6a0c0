//! What a program calls in other Cores, held against these as they stand: what is not there at the start is told, and does not keep the
//! Core from starting, since it may come before it is called.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_recursion::async_recursion as boxed;
use scaigrid_ir::block::CoreCall;
use scaigrid_ir::diagnostic::{codes, in_order};
use scaigrid_ir::expr::Expr;
use scaigrid_ir::{Diagnostic, Flow, Module, Value, near};
use scaigrid_runtime::Program;
use scaigrid_scope::TenantScope;

use super::Wants;
use crate::{Engine, Error};

/// Calls that are looked at at one start, and different Cores or versions of theirs. The others are found out when they are made.
const LOOKED_AT: usize = 200;
const CORES: usize = 50;

/// A call of a flow of another Core, and where it stands in the program.
#[derive(Debug, Clone, PartialEq)]
pub struct OtherCall {
    /// The block (RFC 6901).
    pub pointer: String,
    /// What it calls.
    pub call: CoreCall,
}

/// What is there of what a call names.
enum Found {
    NoCore,
    NoVersion(u32),
    Program(Arc<Program>),
    /// A Core whose program does not run yet.
    Unfinished,
}

impl Engine {
    /// Warnings about the calls of a program to which nothing answers in the tenant as its Cores stand now: no such Core, version or
    /// flow, or one that wants other input.
    ///
    /// # Errors
    /// The database's.
    #[boxed]
    pub async fn missing_calls(&self, scope: TenantScope, wants: &Wants) -> Result<Vec<Diagnostic>, Error> {
        let mut known: BTreeMap<(Arc<str>, Option<u32>), Found> = BTreeMap::new();
        let mut findings = Vec::new();
        for one in wants.calls.iter().take(LOOKED_AT) {
            let key = (Arc::clone(&one.call.target), one.call.version);
            if !known.contains_key(&key) && known.len() < CORES {
                let found = self.find_called(scope, &one.call).await?;
                known.insert(key.clone(), found);
            }
            findings.extend(known.get(&key).map(|found| found.lacking(one)).unwrap_or_default());
        }
        in_order(&mut findings);
        Ok(findings)
    }

    async fn find_called(&self, scope: TenantScope, call: &CoreCall) -> Result<Found, Error> {
        let Some(id) = self.core_at(scope, &call.target).await? else { return Ok(Found::NoCore) };
        let version = match (call.version, self.hosted(scope, id).await) {
            (Some(version), Ok(_)) => version,
            (None, Ok(hosted)) => hosted.core.source.version,
            (_, Err(Error::NoCore)) => return Ok(Found::NoCore),
            (_, Err(error)) => return Err(error),
        };
        match self.program(scope, id, version).await {
            Ok(program) => Ok(Found::Program(program)),
            Err(Error::NoCore) if call.version.is_some() => Ok(Found::NoVersion(version)),
            Err(Error::NoCore | Error::BadProgram(_)) => Ok(Found::Unfinished),
            Err(error) => Err(error),
        }
    }
}

impl Found {
    /// What a call does not find.
    fn lacking(&self, one: &OtherCall) -> Vec<Diagnostic> {
        let call = &one.call;
        let missing = |field: &str, message: String| {
            vec![Diagnostic::warning(codes::CALL_NOT_THERE, format!("{}/{field}", one.pointer), message)]
        };
        match self {
            Self::NoCore => {
                missing("target", format!("there is no {} in the tenant at present", call.target))
            }
            Self::NoVersion(version) => {
                missing("version", format!("{} has no version {version} at present", call.target))
            }
            Self::Unfinished => Vec::new(),
            Self::Program(program) => {
                let module = program.module();
                if let Some(flow) = module.flow(&call.flow_name) {
                    return misfits(one, flow, module);
                }
                let hint = near::hint(&call.flow_name, module.flows.iter().map(|flow| &*flow.name));
                let message = format!("{} has no flow {:?} at present{hint}", call.target, call.flow_name);
                missing("flow_name", message)
            }
        }
    }
}

/// What of a call's input a flow would refuse, as far as that is seen without running.
fn misfits(one: &OtherCall, flow: &Flow, module: &Module) -> Vec<Diagnostic> {
    let OtherCall { pointer, call } = one;
    let given: BTreeMap<&str, &Expr> =
        call.input_bindings.iter().map(|(name, value)| (&**name, value)).collect();
    let misfit = |param: &scaigrid_ir::module::Param| match given.get(&*param.name) {
        None if param.default.is_none() && param.ty.admit(Value::Null, &module.types).is_err() => {
            let message =
                format!("the flow {} of {} needs the parameter {:?}", flow.name, call.target, param.name);
            Some(Diagnostic::warning(codes::CALL_DOES_NOT_FIT, pointer.as_str(), message))
        }
        Some(Expr::Literal(value)) => {
            let errors = param.ty.admit(value.clone(), &module.types).err()?;
            let why = errors.first().map(ToString::to_string).unwrap_or_default();
            let message = format!("the flow {} of {} takes something else: {why}", flow.name, call.target);
            let place = format!("{pointer}/input_bindings/{}", param.name);
            Some(Diagnostic::warning(codes::CALL_DOES_NOT_FIT, place, message))
        }
        _ => None,
    };
    flow.params.iter().filter_map(misfit).collect()
}
