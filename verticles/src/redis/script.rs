//! The scripts that change programs: what Redis does in one step, so that no other writer comes between, and nobody who
//! looks sees a part of it.
//!
//! A script compares the version that is stored with the one that is given, or gives the next one; keeps the change in the
//! stream of changes; sets the hash; and publishes. What can fail for the sake of the keys or of the user's rights comes
//! before the hash is touched. Versions are compared as text: a number of Lua's is exact up to 2^53 only.

use std::sync::LazyLock;

use ::redis::{Pipeline, Script};

/// A script, and the name that Redis knows it by once it has run.
pub(super) struct ServerScript {
    text: String,
    script: Script,
}

impl ServerScript {
    fn new(text: &str) -> Self {
        let text = format!("{FUNCTIONS}{text}");
        Self { script: Script::new(&text), text }
    }

    /// Adds a call to a pipeline. The first call brings the text and the others name it: nothing has to be loaded before,
    /// and no server that has forgotten its scripts is a surprise.
    pub(super) fn call<'p>(&self, pipeline: &'p mut Pipeline) -> &'p mut Pipeline {
        match pipeline.is_empty() {
            true => pipeline.cmd("EVAL").arg(&self.text),
            false => pipeline.cmd("EVALSHA").arg(self.script.get_hash()),
        }
    }
}

/// Functions of both scripts; versions are decimals without leading zeros.
const FUNCTIONS: &str = "
local MAX = '18446744073709551615'
local function above(a, b) return #a > #b or (#a == #b and a > b) end
local function higher(a, b) return (not b or (a and above(a, b))) and a or b end
local function version_of(key)
  local text = redis.call('HGET', key, 'version')
  local digits = text and string.match(text, '^0*(%d+)$')
  return digits and not above(digits, MAX) and digits or nil
end
local function after(version)
  local head, digit, nines = string.match(version, '^(.-)([0-8]?)(9*)$')
  return head .. (digit == '' and '1' or tostring(digit + 1)) .. string.rep('0', #nines)
end
local function now_ms()
  local time = redis.call('TIME')
  return string.format('%s%03d', time[1], math.floor(time[2] / 1000))
end
local function next_version(stored)
  local now = now_ms()
  return stored and not above(now, stored) and after(stored) or now
end
local function with_version(json, version)
  return string.sub(json, 1, -2) .. ',\"version\":' .. version .. '}'
end
local function keep(json)
  if KEYS[3] then redis.call('XADD', KEYS[3], 'MAXLEN', '~', ARGV[2], '*', 'change', json) end
end
";

/// Stores one program.
///
/// Keys: the program's, that of its deletion, and the stream of changes if that is to be written. Arguments: the channel; how many
/// changes to keep, about; the program as JSON without a version; its version, or nothing; then the fields of the hash without
/// the version, each with its value.
/// Answers 1 and the version; or 0 and the version that is stored when that is higher, or is the highest there can be.
pub(super) static PUT: LazyLock<ServerScript> = LazyLock::new(|| {
    ServerScript::new(
        "
local stored, version = higher(version_of(KEYS[1]), version_of(KEYS[2])), ARGV[4]
if version == '' then version = next_version(stored) end
if above(version, MAX) or (stored and above(stored, version)) then return {0, stored} end
local json = with_version(ARGV[3], version)
keep(json)
redis.call('HSET', KEYS[1], 'version', version, unpack(ARGV, 5))
redis.call('DEL', KEYS[2])
redis.call('PUBLISH', ARGV[1], json)
return {1, version}
",
    )
});

/// Deletes one program, and keeps the version of that for a time.
///
/// Keys: as of [`PUT`]. Arguments: the channel; how many changes to keep, about; the deletion as JSON without a version; the
/// program's id; how long to keep the deletion, in seconds.
/// Answers 1 and the version; 2 and the version if there was no program; 0 and the version that is stored if that is the
/// highest there can be; or 3 and 0 if the key holds no program.
pub(super) static DELETE: LazyLock<ServerScript> = LazyLock::new(|| {
    ServerScript::new(
        "
local named = redis.pcall('HGET', KEYS[1], 'programId')
local exists = redis.call('EXISTS', KEYS[1]) == 1
if exists and named ~= ARGV[4] then return {3, '0'} end
local stored = higher(version_of(KEYS[1]), version_of(KEYS[2]))
local version = next_version(stored)
if above(version, MAX) then return {0, stored} end
local json = with_version(ARGV[3], version)
keep(json)
redis.call('HSET', KEYS[2], 'version', version)
redis.call('EXPIRE', KEYS[2], ARGV[5])
redis.call('DEL', KEYS[1])
redis.call('PUBLISH', ARGV[1], json)
return {exists and 1 or 2, version}
",
    )
});
