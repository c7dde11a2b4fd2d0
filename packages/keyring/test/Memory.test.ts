import { assert, describe, it } from "@effect/vitest"
import * as Canary from "@valetkey/testing/Canary"
import * as FakeVault from "@valetkey/testing/FakeVault"
import { Effect, Redacted } from "effect"
import { spawn } from "node:child_process"
import { randomBytes } from "node:crypto"
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { derive } from "./Independent.ts"

const idle = fileURLToPath(new URL("./support/Idle.ts", import.meta.url))

const directory = Effect.acquireRelease(
  Effect.sync(() => mkdtempSync(join(tmpdir(), "valetkey-memory-"))),
  (path) => Effect.sync(() => rmSync(path, { recursive: true, force: true }))
)

interface Found {
  readonly envelopes: ReadonlyArray<string>
  readonly kept: string
  /** How many buffers held a key, and how many of them still do. */
  readonly buffers: number
  readonly loose: number
}

/** Runs the process to its end and returns what it said. */
const run = (args: ReadonlyArray<string>, env: NodeJS.ProcessEnv = {}, inherited: ReadonlyArray<number> = []) =>
  Effect.callback<Found>((resume) => {
    const child = spawn(process.execPath, ["--heap-snapshot-string-limit=1000000", idle, ...args], {
      env: { ...process.env, ...env },
      stdio: ["ignore", "pipe", "inherit", ...inherited]
    })
    let said = ""
    child.stdout!.on("data", (chunk) => said += String(chunk))
    child.on("close", () => resume(Effect.sync(() => JSON.parse(said) as Found)))
  })

/** The ways in which bytes may stand in a string. */
const spellings = (bytes: Uint8Array): ReadonlyArray<string> => {
  const buffer = Buffer.from(bytes)
  return (["latin1", "utf8", "utf16le", "hex", "base64", "base64url"] as const).map((encoding) =>
    buffer.toString(encoding).replace(/=+$/, "")
  )
}

const stringsOf = (snapshot: string) =>
  (JSON.parse(readFileSync(snapshot, "utf8")) as { readonly strings: ReadonlyArray<string> }).strings

/** Which of the keys stand in a string of the snapshot (the root key, those of the envelopes), and in how many buffers. */
const surviving = (snapshot: string, rootKey: Buffer, { buffers, envelopes, kept, loose }: Found) =>
  Effect.promise(async () => {
    const strings = stringsOf(snapshot)
    const holds = (needles: ReadonlyArray<string>) =>
      strings.some((text) => needles.some((needle) => text.includes(needle)))
    // Were strings cut or left out, nothing below would mean anything.
    assert.isTrue(holds([kept]))
    assert.isAtLeast(buffers, 1 + 2 * envelopes.length)
    let derived = 0
    for (const [index, envelope] of envelopes.entries()) {
      const { okm } = await derive(
        rootKey,
        {
          instance: "inst",
          table: "connections",
          tenant: "acme",
          row: "user-1/github",
          field: "access_token",
          generation: index + 1
        },
        Buffer.from(envelope, "hex")
      )
      if (holds(spellings(okm.slice(0, 32)))) derived++
    }
    return { root: holds(spellings(rootKey)), derived, buffers: loose }
  })

const freshKey = () => {
  const bytes = randomBytes(32)
  Canary.register("root_key", bytes.toString("base64"))
  return bytes
}

describe("an idle process that has sealed and opened", () => {
  it.live(
    "CRY-20 holds no key in a string or a buffer of its own, when it read them from a file",
    () =>
      Effect.gen(function*() {
        const base = yield* directory
        const key = freshKey()
        const [path, snapshot] = [join(base, "keys"), join(base, "heap")]
        writeFileSync(path, `1:${key.toString("base64")}\n`, { mode: 0o600 })
        const found = yield* run(["file", path, snapshot])
        assert.deepStrictEqual(yield* surviving(snapshot, key, found), { root: false, derived: 0, buffers: 0 })
      }),
    60_000
  )

  it.live(
    "CRY-20 holds no key in a string or a buffer of its own, when it read them from a descriptor",
    () =>
      Effect.gen(function*() {
        const base = yield* directory
        const key = freshKey()
        const [path, snapshot] = [join(base, "keys"), join(base, "heap")]
        writeFileSync(path, `1:${key.toString("base64")}\n`, { mode: 0o600 })
        const descriptor = openSync(path, "r")
        const found = yield* run(["descriptor", "3", snapshot], {}, [descriptor])
        closeSync(descriptor)
        assert.deepStrictEqual(yield* surviving(snapshot, key, found), { root: false, derived: 0, buffers: 0 })
      }),
    60_000
  )

  it.live(
    "CRY-20 holds no key in a string or a buffer of its own, when Vault unwrapped them",
    () =>
      Effect.gen(function*() {
        const base = yield* directory
        const vault = yield* FakeVault.make()
        yield* vault.write("keys/valetkey")
        const key = freshKey()
        const { ciphertext } = yield* vault.write("encrypt/valetkey", { plaintext: key.toString("base64") })
        const snapshot = join(base, "heap")
        const found = yield* run(["wrapped", `1:${String(ciphertext)}`, snapshot, vault.address], {
          VAULT_TOKEN: Redacted.value(vault.root)
        })
        assert.deepStrictEqual(yield* surviving(snapshot, key, found), { root: false, derived: 0, buffers: 0 })
      }),
    60_000
  )

  it.live(
    "CRY-20 holds the root key when it was given as a text, as docs/keys.md says, and nothing else",
    () =>
      Effect.gen(function*() {
        const base = yield* directory
        const key = freshKey()
        const [path, snapshot] = [join(base, "keys"), join(base, "heap")]
        writeFileSync(path, `1:${key.toString("base64")}\n`, { mode: 0o600 })
        const found = yield* run(["text", path, snapshot])
        assert.deepStrictEqual(yield* surviving(snapshot, key, found), { root: true, derived: 0, buffers: 0 })
      }),
    60_000
  )
})
