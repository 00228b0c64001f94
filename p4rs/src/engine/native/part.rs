//! The parts of a program's machine code: one for the usual kinds of packets, one for all others.
//!
//! In: what is known of a lowered program. Out: compiled functions, in the order in which a packet enters them. They are
//! made at the same time, on a thread each: a compiler's work grows faster than its function.

use std::thread;

use cranelift_codegen::ir::{UserFuncName, types};
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};
use cranelift_jit::JITModule;
use cranelift_module::{Linkage, Module};
use rustc_hash::FxHashMap;

use super::super::arch::Arch;
use super::super::interp::{Machine, Slot};
use super::super::tables::MatchTable;
use super::build::{Build, signature};
use super::context::{Context, Site};
use super::profile::{Profile, USEFUL};
use super::program::outcome;
use super::region::Regions;
use super::widths::Widths;
use super::{Effort, Unsupported, declare, jit, prune, reference, stages, usual};

/// Which packets a part is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kinds {
    /// Those that a NIC sees most; see [`super::usual`].
    Usual,
    /// Whatever comes.
    All,
    /// Those that take the ways which most packets took; see [`super::hot`].
    Hot,
}

/// Which part of a profile's packets makes a way usual: the first that leads to code of acceptable size.
const SHARES: [u32; 3] = [24, 8, 3];

/// What the parts are made from.
pub(super) struct Plan<'p> {
    pub machine: &'p Machine,
    pub regions: &'p Regions,
    pub scan: (&'p [bool], &'p Widths<'p>, &'p FxHashMap<Slot, Slot>),
    /// Kinds of packets that may have code of their own.
    pub kinds: usize,
    pub gates: Vec<Slot>,
    /// Whether machine code emits the headers.
    pub emits: bool,
}

/// A compiled function.
pub(crate) struct Part {
    /// Owns the code; taken when dropped.
    module: Option<JITModule>,
    entry: extern "C" fn(*mut Context) -> u32,
    /// Nodes that the interpreter runs.
    sites: Box<[Site]>,
    /// Most bytes of outgoing headers.
    pub room: usize,
}

/// Code for the ways that most packets take, and for the scouts of those packets, where any table is so large that these are of
/// use.
#[derive(Debug)]
pub(crate) struct HotCode {
    pub pass: Part,
    pub scout: Option<Part>,
}

// SAFETY: the code is never changed after it was made, the module is used again only to free it, and the nodes behind
// the sites belong to the machine that owns this and are never changed; nothing here is shared mutable state.
unsafe impl Send for Part {}
// SAFETY: as above.
unsafe impl Sync for Part {}

impl std::fmt::Debug for Part {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Part").finish_non_exhaustive()
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if let Some(module) = self.module.take() {
            // SAFETY: the code can only be entered through `self`, which is gone.
            unsafe { module.free_memory() };
        }
    }
}

impl Part {
    /// Runs a pass from its beginning, or the next stage of a scout; the word that tells its end.
    #[inline(always)]
    pub(super) fn run(&self, context: *mut Context) -> u32 {
        // SAFETY: the context belongs to the caller, and nobody runs with it.
        unsafe { (*context).sites = self.sites.as_ptr() };
        (self.entry)(context)
    }
}

impl Plan<'_> {
    /// Makes the part for the ways that at least every so manieth packet of a profile took; none where it would be of use to
    /// few of them.
    pub fn compile_hot(&self, profile: &Profile) -> Option<HotCode> {
        let packets = profile.packets();
        SHARES.iter().find_map(|share| {
            let least = packets.div_ceil(*share).max(1);
            let make = |scout| {
                let hot = Some((profile, least, scout));
                let made = self.part(Kinds::Hot, hot);
                made.ok().flatten()
            };
            let pass = make(false)?;
            let far = self.machine.tables.iter().any(MatchTable::is_far);
            let scout = if far { make(true) } else { None };
            Some(HotCode { pass, scout })
        })
    }

    /// Makes the parts.
    pub fn compile(&self) -> Result<Vec<Part>, Unsupported> {
        if self.kinds == 0 || !self.emits {
            return Ok(self.part(Kinds::All, None)?.into_iter().collect());
        }
        thread::scope(|scope| {
            let usual = || self.part(Kinds::Usual, None);
            let usual = thread::Builder::new().spawn_scoped(scope, usual);
            let all = self.part(Kinds::All, None);
            // Without a thread, without such kinds, or where they cannot have code, all packets are what others are.
            let usual = usual.ok().and_then(|usual| usual.join().ok());
            let usual = usual.and_then(Result::ok).flatten();
            Ok(usual.into_iter().chain(all?).collect())
        })
    }

    /// The first packets wait for what is made when the program is loaded, a thread of its own makes the rest.
    fn effort(&self, kinds: Kinds) -> Effort {
        match kinds {
            Kinds::All if self.has_usual_kinds() => Effort::Little,
            Kinds::All | Kinds::Usual => Effort::Usual,
            Kinds::Hot => Effort::All,
        }
    }

    /// Whether usual kinds of packets have a part of their own.
    fn has_usual_kinds(&self) -> bool {
        let parser = match &self.machine.arch {
            Arch::Pna(pna) => pna.parser,
            Arch::V1Model(arch) => arch.parser,
        };
        let parser = self.machine.code.parsers.get(parser as usize);
        let usual = parser.and_then(|parser| {
            let (_, parser) = parser.as_ref()?;
            usual::usual(parser, self.scan.0, self.kinds)
        });
        self.emits && usual.is_some()
    }

    /// Makes one part; none for usual kinds where there are none.
    fn part(
        &self,
        kinds: Kinds,
        hot: Option<(&Profile, u32, bool)>,
    ) -> Result<Option<Part>, Unsupported> {
        let mut module = JITModule::new(jit(self.effort(kinds))?);
        let imports = declare(&mut module)?;
        let mut context = module.make_context();
        signature(&mut context.func.signature, 1, Some(types::I32));
        let entry = module
            .declare_function("pass", Linkage::Export, &context.func.signature)
            .map_err(|_| Unsupported("this machine"))?;
        context.func.name = UserFuncName::user(0, entry.as_u32());
        let mut frontend = FunctionBuilderContext::new();
        let mut sites = Vec::new();
        let room = {
            let imports = reference(imports, &mut module, &mut context.func);
            let builder = FunctionBuilder::new(&mut context.func, &mut frontend);
            let of = (self.machine, self.regions);
            let mut build = Build::new(of, builder, imports, self.scan, &mut sites);
            build.part = kinds;
            build.kinds = self.kinds;
            build.gates.clone_from(&self.gates);
            if let Some((profile, least, scout)) = hot {
                build.begin_hot(profile, least, scout);
            }
            if !build.pass(self.emits)? {
                return Ok(None);
            }
            let (waits, told) = build.take_waits();
            let useful = match hot {
                Some((.., true)) => !waits.is_empty(),
                Some((profile, ..)) => build.covered() >= profile.packets().div_ceil(USEFUL),
                None => true,
            };
            if !useful {
                return Ok(None);
            }
            let room = build.room;
            let accesses = build.accesses();
            build.b.seal_all_blocks();
            build.b.finalize(module.target_config());
            if !waits.is_empty() {
                prune::end_early(
                    &mut context.func,
                    &[&waits[..], &told].concat(),
                    outcome::ANEW,
                );
                // What nobody reads need not be kept.
                prune::prune(&mut context.func, &accesses.0, accesses.1);
                stages::cut(&mut context.func, &waits)?;
            }
            prune::prune(&mut context.func, &accesses.0, accesses.1);
            if !waits.is_empty() && prune::loads(&context.func, &accesses.0) {
                // A stage does not find what another one left on the stack.
                return Err(Unsupported("a scout with variables on its stack"));
            }
            room
        };
        module
            .define_function(entry, &mut context)
            .map_err(|_| Unsupported("what was generated"))?;
        module.clear_context(&mut context);
        module
            .finalize_definitions()
            .map_err(|_| Unsupported("executable memory"))?;
        let address = module.get_finalized_function(entry);
        // SAFETY: the function was defined above with this signature.
        let entry = unsafe {
            std::mem::transmute::<*const u8, extern "C" fn(*mut Context) -> u32>(address)
        };
        Ok(Some(Part {
            module: Some(module),
            entry,
            sites: sites.into_boxed_slice(),
            room,
        }))
    }
}
