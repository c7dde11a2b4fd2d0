import { assert, describe, it } from "@effect/vitest"
import * as Canary from "@valetkey/testing/Canary"
import * as CanaryScan from "@valetkey/testing/CanaryScan"
import { Redacted } from "effect"
import { randomBytes } from "node:crypto"
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"

const secret = Redacted.value(Canary.make("access_token"))
const random = secret.slice(-32)
const noise = () => randomBytes(50)

const leaks: Readonly<Record<string, (secret: string) => Buffer>> = {
  raw: (s) => Buffer.from(s),
  "raw first fragment": () => Buffer.from(random.slice(0, 12)),
  "raw last fragment": () => Buffer.from(random.slice(-12)),
  "base64 at 0": (s) => Buffer.from(Buffer.from(s).toString("base64")),
  "base64 at 1": (s) => Buffer.from(Buffer.from(`x${s}`).toString("base64")),
  "base64 at 2": (s) => Buffer.from(Buffer.from(`xy${s}`).toString("base64")),
  "base64url at 1": (s) => Buffer.from(Buffer.from(`?>?${s}`).toString("base64url")),
  hex: (s) => Buffer.from(Buffer.from(s).toString("hex")),
  "hex in capitals": (s) => Buffer.from(Buffer.from(s).toString("hex").toUpperCase()),
  percent: (s) => Buffer.from([...Buffer.from(s)].map((b) => `%${b.toString(16)}`).join("")),
  json: (s) => Buffer.from([...Buffer.from(s)].map((b) => `\\u00${b.toString(16)}`).join("")),
  utf16le: (s) => Buffer.from(s, "utf16le"),
  utf16be: (s) => Buffer.from(s, "utf16le").swap16()
}

describe("CanaryScan", () => {
  for (const [name, leak] of Object.entries(leaks)) {
    it(`I11 I12 finds a secret planted as ${name}`, () => {
      const scanner = CanaryScan.make()
      for (let at = 0; at < 16; at++) {
        const found = scanner.bytes("x", Buffer.concat([noise(), Buffer.alloc(at), leak(secret), noise()]))
        assert.isAtLeast(found.length, 1)
        assert.strictEqual(found[0]?.kind, "access_token")
        assert.notInclude(CanaryScan.format(found), random)
      }
    })
  }

  it("I12 finds a registered secret of any shape, and of a JWT its signature only", () => {
    const opaque = randomBytes(32).toString("base64url")
    const header = Buffer.from("{\"alg\":\"ES256\",\"typ\":\"JWT\"}").toString("base64url")
    const jwt = `${header}.e30.${randomBytes(64).toString("base64url")}`
    Canary.register("refresh_token", opaque)
    Canary.register("id_token", jwt)
    const scanner = CanaryScan.make()
    assert.deepStrictEqual(scanner.bytes("x", `a${opaque}b`).map(({ kind }) => kind), [
      "refresh_token",
      "refresh_token"
    ])
    assert.isAtLeast(scanner.bytes("x", jwt).length, 1)
    assert.deepStrictEqual(scanner.bytes("x", `${header}.e30.other`), [])
  })

  it("finds nothing where nothing leaked, names and short fragments included", () => {
    const scanner = CanaryScan.make()
    assert.deepStrictEqual(scanner.bytes("x", randomBytes(1 << 20)), [])
    assert.deepStrictEqual(scanner.bytes("x", `CANARY-access_token- ${random.slice(0, 8)}`), [])
  })

  it("scans files below a directory, and a large one for many secrets in seconds", () => {
    const root = mkdtempSync(join(tmpdir(), "canary-scan-"))
    try {
      mkdirSync(join(root, "deep"))
      const big = Buffer.concat([randomBytes(1 << 25), Buffer.from(secret)])
      writeFileSync(join(root, "deep", "big"), big)
      writeFileSync(join(root, "clean"), "clean")
      const canaries = Array.from(
        { length: 5000 },
        () => ({ kind: "code", unique: randomBytes(24).toString("base64url") })
      )
      const started = performance.now()
      const found = CanaryScan.make([...canaries, ...Canary.all()]).path(root)
      const elapsed = performance.now() - started
      assert.isAtLeast(found.length, 1)
      assert.strictEqual(found[0]?.source, join(root, "deep", "big"))
      assert.isBelow(elapsed, 20_000)
      if (process.env["VALETKEY_MEASURE"] !== undefined) console.log(`scan of 32 MiB for 5000 secrets: ${elapsed} ms`)
    } finally {
      rmSync(root, { recursive: true, force: true })
    }
  })
})
