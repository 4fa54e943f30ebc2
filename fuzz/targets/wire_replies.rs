//! Whatever a server answers is measured, decoded and understood, or refused; what is understood is
//! understood again once it has been sent on.
#![no_main]

use libfuzzer_sys::fuzz_target;
use prost::{Message, Name};
use stigmer_api::convert::{Fault, reply};
use stigmer_api::message_size::MAX_DECODED_REPLY_BYTES;
use stigmer_api::shape::Shape;
use stigmer_api::{ServerInfo, codec, wire};
use stigmer_core::ErrorCode;
use stigmer_core::event::Event;
use stigmer_core::file::{
    DeleteSummary, EditSummary, FileContent, FileStat, Listing, WriteSummary,
};
use stigmer_core::process::{Executed, ExitStatus, OutputEvent, ProcessInfo, StartedProcess};
use stigmer_core::search::{FoundFiles, GrepMatches};
use stigmer_core::skill::AddedSkill;
use stigmer_core::transfer::Change;
use stigmer_core::workspace::WorkspaceInfo;

fn understood<W, C>(bytes: &[u8]) -> Option<C>
where
    W: Message + Name + Default,
    C: TryFrom<W, Error: Into<Fault>>,
{
    let shape = Shape::of(&W::full_name()).expect("the contract has it");
    let measured = shape.measure(bytes, MAX_DECODED_REPLY_BYTES);
    assert_eq!(codec::check::<W>(bytes).is_ok(), measured.is_ok());
    let message = W::decode(bytes).ok()?;
    assert!(measured.is_ok(), "{measured:?}");
    let result = reply::<W, C>(message);
    result.map_err(|error| assert_eq!(error.code, ErrorCode::Io, "{error}")).ok()
}

macro_rules! check {
    ($bytes:ident: $($wire:ident as $core:ty,)+) => {$(
        if let Some(answer) = understood::<wire::$wire, $core>($bytes) {
            let before = format!("{answer:?}");
            let again = wire::$wire::from(answer);
            let same = reply::<_, $core>(again).expect("was understood before");
            assert_eq!(format!("{same:?}"), before);
        }
    )+};
}

macro_rules! only_understand {
    ($bytes:ident: $($wire:ident as $core:ty,)+) => {$(
        understood::<wire::$wire, $core>($bytes);
    )+};
}

fuzz_target!(|bytes: &[u8]| {
    check! { bytes:
        FileContent as FileContent, FileStat as FileStat, WriteSummary as WriteSummary,
        EditSummary as EditSummary, DeleteSummary as DeleteSummary, Listing as Listing,
        FoundFiles as FoundFiles, GrepMatches as GrepMatches, WatchEvent as Change,
        StartedProcess as StartedProcess, Executed as Executed, ExitStatus as ExitStatus,
        ProcessInfo as ProcessInfo, Workspace as WorkspaceInfo,
        ServerInfo as ServerInfo, Event as Event, AddedSkill as AddedSkill,
    }
    only_understand! { bytes:
        OutputEvent as OutputEvent, ProcessList as Vec<ProcessInfo>, WorkspaceList as Vec<WorkspaceInfo>,
        SignalProcessResponse as Option<ExitStatus>,
    }
});
