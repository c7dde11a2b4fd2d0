import { DateTime, Effect } from "effect"
import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import { failure } from "./CliFailure.ts"
import { Output, table } from "./Output.ts"
import type { Remote } from "./Remote.ts"
import { reach } from "./Target.ts"
import { type Keys as KeysOnWire, operations } from "./Wire.ts"

const KeyId = Argument.Int("id").pipe(Argument.withDescription("Id of the key, as `valetkey keys status` shows it"))

const KeysStatus = Command.make("status", {}, () =>
  Effect.gen(function*() {
    const output = yield* Output
    const found = yield* (yield* reach({ start: false })).call(operations.keys, undefined)
    yield* output.result({ ok: true, ...found }, describe(found))
    if (found.unknown > 0) {
      yield* output.say(
        `${found.unknown} stored secrets are sealed under keys that this installation has never had; restore those keys`
      )
    }
    if (found.keys.length === 0) yield* output.say("There are no keys yet.")
  })).pipe(
    Command.withDescription("Show the root keys, and how much is sealed under each"),
    Command.withExamples([{
      command: "valetkey keys status",
      description: "Which keys there are, and which one seals"
    }])
  )

const AddKey = Command.make("add", {}, () =>
  Effect.gen(function*() {
    const output = yield* Output
    const { entry, id } = yield* (yield* reach({ start: true })).call(operations.addKey, undefined)
    if (entry !== undefined) {
      yield* output.result({ ok: true, key: id, entry }, entry)
      yield* output.say(
        `Made key ${id}; it opens nothing yet. Append the entry to VALETKEY_KEYS_WRAPPED on every replica and restart them one by one. Next: valetkey keys promote ${id}`
      )
      return
    }
    yield* output.result({ ok: true, key: id }, String(id))
    yield* output.say(`Added key ${id}; it opens and does not seal yet. Next: valetkey keys promote ${id}`)
  })).pipe(
    Command.withDescription("Make a root key that opens and does not seal yet"),
    Command.withExamples([{
      command: "valetkey keys add",
      description: "The first step of a rotation; prints the key's id"
    }])
  )

const PromoteKey = Command.make("promote", { id: KeyId }, ({ id }) =>
  Effect.gen(function*() {
    const output = yield* Output
    yield* (yield* reach({ start: true })).call(operations.promoteKey, id)
    yield* output.result({ ok: true, key: id, state: "primary" }, `Key ${id} seals from now on`)
    yield* output.say("Next: valetkey keys rewrap")
  })).pipe(
    Command.withDescription("Make a root key the one that seals"),
    Command.withExamples([{ command: "valetkey keys promote 2", description: "Once every replica holds key 2" }])
  )

const RewrapKeys = Command.make("rewrap", {}, () =>
  Effect.gen(function*() {
    const output = yield* Output
    const remote = yield* reach({ start: true })
    const total = yield* remaining(remote)
    const sum = { rewrapped: 0, moved: 0, failed: 0 }
    let left = total
    let idle = false
    while (!idle) {
      const round = yield* remote.call(operations.rewrapKeys, undefined)
      left = yield* remaining(remote)
      sum.rewrapped += round.rewrapped
      sum.moved += round.moved
      sum.failed = round.failed
      yield* progress(total - left, total)
      // What was written while the tables were walked is looked at in another round.
      idle = round.done && (left === 0 || round.rewrapped + round.moved === 0)
    }
    yield* output.status("")
    if (left > 0) {
      return yield* failure(
        "rewrap_incomplete",
        `${left} stored secrets do not open and stay under their key; the server's log says where they are`,
        { ...sum, left }
      )
    }
    yield* output.result(
      { ok: true, ...sum, left },
      `Sealed ${sum.rewrapped} rows anew; nothing is left under older keys`
    )
    yield* output.say("Next: valetkey keys retire ID")
  })).pipe(
    Command.withDescription("Seal under the primary key what older keys sealed; may be stopped and run again"),
    Command.withExamples([{
      command: "valetkey keys rewrap",
      description: "With a progress bar, while the server runs"
    }])
  )

const RetireKey = Command.make("retire", { id: KeyId }, ({ id }) =>
  Effect.gen(function*() {
    const output = yield* Output
    yield* (yield* reach({ start: true })).call(operations.retireKey, id)
    yield* output.result({ ok: true, key: id, state: "retired" }, `Key ${id} opens nothing any more`)
    yield* output.say("Keep it with the backups that were made under it, and remove it from the configuration")
  })).pipe(
    Command.withDescription("Make a root key open nothing any more; refused while it is in use"),
    Command.withExamples([{ command: "valetkey keys retire 1", description: "The last step of a rotation" }])
  )

/** `valetkey keys`: the root keys that seal what is stored. */
export const Keys = Command.make("keys").pipe(
  Command.withDescription("Rotate the keys that seal what is stored"),
  Command.withSubcommands([KeysStatus, AddKey, PromoteKey, RewrapKeys, RetireKey])
)

const describe = ({ keys }: KeysOnWire): string =>
  keys.length === 0 ? "" : table([
    ["ID", "STATE", "HELD", "SECRETS", "CHECK", "SINCE"],
    ...keys.map((key) => [
      String(key.id),
      key.state,
      key.held ? "yes" : "no",
      String(key.envelopes),
      key.checkValue,
      DateTime.formatIsoDateUtc(DateTime.makeUnsafe(key.firstSeenAt))
    ])
  ])

/** How many secrets are under keys that the server can replace. */
const remaining = (remote: Remote) =>
  Effect.map(
    remote.call(operations.keys, undefined),
    ({ keys }) =>
      keys.reduce((sum, { envelopes, held, state }) => state === "active" && held ? sum + envelopes : sum, 0)
  )

const width = 30

const progress = Effect.fnUntraced(function*(done: number, total: number) {
  const output = yield* Output
  const share = total === 0 ? 1 : Math.min(1, Math.max(0, done / total))
  const filled = Math.round(share * width)
  const text = `${Math.round(share * 100)}% of ${total} secrets`
  if (output.watched) {
    yield* output.status(`[${"#".repeat(filled)}${".".repeat(width - filled)}] ${text}`)
  } else if (!output.json) yield* output.say(text)
})
