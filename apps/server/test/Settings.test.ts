import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect, Redacted } from "effect"
import { readFileSync } from "node:fs"
import { load } from "../src/Settings.ts"
import { variables } from "../src/Variables.ts"

const server = {
  DATABASE_URL: "postgres://u:p@db.example/valetkey",
  VALETKEY_JWT_SECRET: "0123456789abcdef0123456789abcdef",
  VALETKEY_JWT_ISSUER: "https://id.example",
  VALETKEY_JWT_AUDIENCE: "valetkey"
}

const wrong: Readonly<Record<string, ReadonlyArray<string>>> = {
  DATABASE_URL: ["hunter2", "mysql://hunter2"],
  VALETKEY_INSTANCE_ID: ["hunter2 hunter2", "h".repeat(65)],
  VALETKEY_LISTEN: ["hunter2", "hunter2:99999", ":80", "a b:80", "hunter2:80:80"],
  VALETKEY_PUBLIC_LISTEN: ["hunter2"],
  VALETKEY_ADMIN_LISTEN: ["hunter2"],
  VALETKEY_PUBLIC_URL: ["hunter2", "http://hunter2.example", "https://hunter2@x.example", "https://x.example/?hunter2"],
  VALETKEY_JWT_SECRET: ["hunter2"],
  VALETKEY_JWKS_URL: ["hunter2", "file:///hunter2"],
  VALETKEY_ALLOW_EGRESS: ["hunter2", "*.hunter2:443", "http://hunter2:80"],
  VALETKEY_FLOW_TTL: ["hunter2", "0s", "2h", "-1s"],
  VALETKEY_LOG_FORMAT: ["hunter2"],
  VALETKEY_LOG_LEVEL: ["hunter2"],
  VALETKEY_READY_LINE: ["hunter2"]
}

describe("settings", () => {
  it.effect("choose the local profile with defaults when nothing is set", () =>
    Effect.gen(function*() {
      const settings = yield* load({ HOME: "/home/nobody" })
      assert.strictEqual(settings.profile, "local")
      assert.isUndefined(settings.listen)
      assert.strictEqual(Duration.toMillis(settings.flowTtl), 600_000)
      assert.strictEqual(settings.home.database, "/home/nobody/.local/share/valetkey/valetkey.db")
      assert.strictEqual(settings.home.keys, "/home/nobody/.config/valetkey/keys")
    }))

  it.effect("choose the server profile when a database is set", () =>
    Effect.gen(function*() {
      const settings = yield* load({
        ...server,
        VALETKEY_LISTEN: "[::1]:9000",
        VALETKEY_PUBLIC_URL: "https://valetkey.example/base/",
        VALETKEY_ALLOW_EGRESS: "a.example:1, 10.0.0.1:2",
        VALETKEY_FLOW_TTL: "90 seconds"
      })
      if (settings.profile !== "server") return assert.fail("not the server profile")
      assert.deepStrictEqual(settings.listen, { host: "::1", port: 9000 })
      assert.strictEqual(settings.publicUrl, "https://valetkey.example/base")
      assert.deepStrictEqual(settings.allowEgress, ["a.example:1", "10.0.0.1:2"])
      assert.strictEqual(Duration.toMillis(settings.flowTtl), 90_000)
      assert.strictEqual(Redacted.value(settings.databaseUrl), server.DATABASE_URL)
      assert.notInclude(JSON.stringify(settings), "0123456789abcdef")
    }))

  it.effect("I26 refuse the server profile without a way to tell callers apart", () =>
    Effect.gen(function*() {
      for (const name of ["VALETKEY_JWT_SECRET", "VALETKEY_JWT_ISSUER", "VALETKEY_JWT_AUDIENCE"]) {
        for (const value of [undefined, ""]) {
          const error = yield* Effect.flip(load({ ...server, [name]: value }))
          assert.strictEqual(error.code, "setting_missing")
          assert.strictEqual(error.variable, name)
        }
      }
    }))

  it.effect("name the variable that is wrong and never its value", () =>
    Effect.gen(function*() {
      for (const [variable, values] of Object.entries(wrong)) {
        for (const value of values) {
          const error = yield* Effect.flip(load({ ...server, [variable]: value }))
          assert.strictEqual(error.code, "setting_invalid", `${variable} ${value}`)
          assert.strictEqual(error.variable, variable)
          assert.include(error.message, `${variable} is not understood: expected`)
          assert.notInclude(`${error.message}${JSON.stringify(error)}`, "hunter2")
        }
      }
    }))

  it("S3.46 are documented: every variable that is read has a sentence, a default and what it expects", () => {
    const source = readFileSync(new URL("../src/Settings.ts", import.meta.url), "utf8")
    const read = [...source.matchAll(/"(VALETKEY_[A-Z_]+|DATABASE_URL)"/g)].map(([, name]) => name)
    const documented: ReadonlyArray<string> = variables.map(({ name }) => name)
    assert.deepStrictEqual([...new Set(read)].filter((name) => !documented.includes(String(name))), [])
    for (const { expected, fallback, sentence } of variables) {
      assert.isTrue(sentence.length > 0 && fallback.length > 0 && expected.length > 0)
    }
  })
})
