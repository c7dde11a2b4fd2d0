// A process that seals and opens, goes idle, and writes down every string that its heap still holds.
import { Cipher } from "@valetkey/domain/Cipher"
import { TenantId } from "@valetkey/domain/Tenant"
import { Effect, Redacted } from "effect"
import crypto from "node:crypto"
import { readFileSync } from "node:fs"
import { syncBuiltinESMExports } from "node:module"
import { setFlagsFromString, writeHeapSnapshot } from "node:v8"
import { runInNewContext } from "node:vm"
import * as KeyRingCipher from "../../src/KeyRingCipher.ts"
import * as KeySource from "../../src/KeySource.ts"
import * as VaultTransit from "../../src/VaultTransit.ts"

// Every buffer that a key was derived into or made from, as the package handed it over.
const buffers = new Array<Uint8Array>()
const { createSecretKey, hkdfSync } = crypto
Object.assign(crypto, {
  hkdfSync: (...args: Parameters<typeof hkdfSync>) => {
    const derived = hkdfSync(...args)
    buffers.push(new Uint8Array(derived))
    return derived
  },
  createSecretKey: (bytes: Uint8Array) => {
    buffers.push(bytes)
    return createSecretKey(bytes)
  }
})
syncBuiltinESMExports()

const [kind = "", place = "", snapshot = "", more = ""] = process.argv.slice(2)

const vault = () =>
  VaultTransit.make({
    mount: "transit",
    key: "valetkey",
    token: Effect.succeed(Redacted.make(process.env["VAULT_TOKEN"] ?? "")),
    send: ({ body, headers, path }) =>
      Effect.promise(async () => {
        const response = await fetch(`${more}${path}`, {
          method: "POST",
          body,
          headers: Object.entries(headers).map(([name, value]): [string, string] => [
            name,
            Redacted.isRedacted(value) ? Redacted.value(value) : value
          ])
        })
        return { status: response.status, body: new Uint8Array(await response.arrayBuffer()) }
      })
  })

const sources: Readonly<Record<string, () => KeySource.KeySource>> = {
  text: () => KeySource.fromText(Redacted.make(readFileSync(place, "utf8"))),
  file: () => KeySource.fromFile({ path: place, create: false }),
  descriptor: () => KeySource.fromDescriptor(Number(place)),
  wrapped: () => KeySource.fromWrapped({ keys: Redacted.make(place), service: vault() })
}
const source = sources[kind]!()

const contextOf = (generation: number) => ({
  table: "connections" as const,
  tenant: TenantId.make("acme"),
  row: "user-1/github",
  field: "access_token" as const,
  generation
})

/** One turn of the event loop. */
const turn = () => new Promise<void>((resolve) => void setImmediate(resolve))

const program = Effect.gen(function*() {
  const cipher = yield* Cipher
  const envelopes = new Array<string>()
  for (let generation = 1; generation <= 20; generation++) {
    const sealed = yield* cipher.seal(contextOf(generation), Redacted.make(`CONTROL-${generation}`))
    for (let time = 0; time < 2; time++) yield* cipher.open(contextOf(generation), sealed)
    envelopes.push(Buffer.from(sealed).toString("hex"))
  }
  // The cipher with its derived keys, and the source with its ring, live on: the process is idle, not over.
  const kept = Redacted.value(yield* cipher.open(contextOf(1), Buffer.from(envelopes[0]!, "hex") as never))
  yield* Effect.promise(async () => {
    for (let left = 10; left > 0; left--) await turn()
    setFlagsFromString("--expose-gc")
    const collect = runInNewContext("gc") as () => void
    for (let left = 3; left > 0; left--) {
      collect()
      await turn()
    }
    writeHeapSnapshot(snapshot)
  })
  yield* cipher.open(contextOf(1), Buffer.from(envelopes[0]!, "hex") as never)
  return { envelopes, kept }
})

const { envelopes, kept } = await Effect.runPromise(
  Effect.provide(program, KeyRingCipher.layer({ instanceId: "inst", source }))
)
const loose = buffers.filter((buffer) => buffer.some((byte) => byte !== 0)).length
process.stdout.write(JSON.stringify({ envelopes, kept, buffers: buffers.length, loose }))
