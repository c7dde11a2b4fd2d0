import { assert, describe, it } from "@effect/vitest"
import { flowTtl } from "@valetkey/domain/Flows"
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

const wrapped = {
  VALETKEY_KEYS_WRAPPED: "1:vault:v1:QUFB",
  VALETKEY_VAULT_ADDR: "https://vault.example:8200/",
  VALETKEY_VAULT_KEY: "valetkey",
  VALETKEY_VAULT_TOKEN_FILE: "/run/vault/token"
}

const wrong: Readonly<Record<string, ReadonlyArray<string>>> = {
  DATABASE_URL: ["hunter2", "mysql://hunter2"],
  VALETKEY_INSTANCE_ID: ["hunter2 hunter2", "h".repeat(65)],
  VALETKEY_LISTEN: ["hunter2", "hunter2:99999", ":80", "a b:80", "hunter2:80:80"],
  VALETKEY_PUBLIC_LISTEN: ["hunter2"],
  VALETKEY_ADMIN_LISTEN: ["hunter2"],
  VALETKEY_PUBLIC_URL: ["hunter2", "http://hunter2.example", "https://hunter2@x.example", "https://x.example/?hunter2"],
  VALETKEY_CLIENT_METADATA_URL: [
    "hunter2",
    "http://hunter2.example/client.json",
    "https://hunter2.example",
    "https://x.example/?hunter2"
  ],
  VALETKEY_RETURN_URLS: [
    "hunter2",
    "http://hunter2.example/",
    "https://hunter2@x.example/",
    "https://x.example/#hunter2",
    "https://x.example/, hunter2"
  ],
  VALETKEY_JWT_SECRET: ["hunter2"],
  VALETKEY_JWKS_URL: ["hunter2", "file:///hunter2"],
  VALETKEY_ALLOW_EGRESS: ["hunter2", "*.hunter2:443", "http://hunter2:80"],
  VALETKEY_KEYS_FD: ["hunter2", "0", "1", "2", "-3", "3.5", "1024"],
  VALETKEY_REDEMPTION_CAPS: [
    "hunter2",
    "https://hunter2.example",
    "https://hunter2.example=0",
    "https://hunter2.example=1001",
    "https://hunter2@x.example=5",
    "ftp://hunter2.example=5",
    "https://x.example=5, hunter2"
  ],
  VALETKEY_WORKLOAD_TOKENS: ["hunter2", "hunter2=/a", "a/b=hunter2", "a/B=/hunter2", "a/b=/hunter2,a/b=/c"],
  VALETKEY_REFRESH_AHEAD: ["hunter2", "2h", "-1s", "5"],
  VALETKEY_REFRESH_USED_WITHIN: ["hunter2", "31d", "-1s", "5"],
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

  it.effect("S2x.7 of a local server have a listener for the browsers that a public URL leads here", () =>
    Effect.gen(function*() {
      const local = { HOME: "/home/nobody", VALETKEY_PUBLIC_URL: "https://hunter2.example" }
      for (const more of [{}, { VALETKEY_ADMIN_LISTEN: "127.0.0.1:1" }, { VALETKEY_LISTEN: "" }]) {
        const error = yield* Effect.flip(load({ ...local, ...more }))
        assert.deepStrictEqual([error.code, error.variable], ["listener_missing", "VALETKEY_PUBLIC_URL"])
        assert.match(error.message, /VALETKEY_PUBLIC_LISTEN.+VALETKEY_LISTEN/)
        assert.notInclude(error.message, "hunter2")
      }
      for (const name of ["VALETKEY_LISTEN", "VALETKEY_PUBLIC_LISTEN"]) {
        assert.strictEqual((yield* load({ ...local, [name]: "127.0.0.1:1" })).profile, "local")
      }
      assert.strictEqual((yield* load({ ...server, ...local })).profile, "server")
    }))

  it.effect("choose the server profile when a database is set", () =>
    Effect.gen(function*() {
      const settings = yield* load({
        ...server,
        VALETKEY_LISTEN: "[::1]:9000",
        VALETKEY_PUBLIC_URL: "https://valetkey.example/base/",
        VALETKEY_RETURN_URLS: "https://App.example/connected?a=b, http://localhost:3000/back",
        VALETKEY_ALLOW_EGRESS: "a.example:1, 10.0.0.1:2",
        VALETKEY_REDEMPTION_CAPS: "https://AS.example/=50, https://b.example/t/token?x=1=3",
        VALETKEY_WORKLOAD_TOKENS: "acme/cluster=/run/secrets/a=b, other/cluster=/run/secrets/c",
        VALETKEY_REFRESH_AHEAD: "90s",
        VALETKEY_REFRESH_USED_WITHIN: "12h",
        VALETKEY_FLOW_TTL: "90 seconds"
      })
      if (settings.profile !== "server") return assert.fail("not the server profile")
      assert.deepStrictEqual(settings.listen, { host: "::1", port: 9000 })
      assert.strictEqual(settings.publicUrl, "https://valetkey.example/base")
      assert.deepStrictEqual(settings.returnUrls, ["https://App.example/connected?a=b", "http://localhost:3000/back"])
      assert.deepStrictEqual(settings.allowEgress, ["a.example:1", "10.0.0.1:2"])
      assert.deepStrictEqual(settings.redemptionCaps, [
        { endpoint: "https://as.example", cap: 50 },
        { endpoint: "https://b.example/t/token?x=1", cap: 3 }
      ])
      assert.deepStrictEqual(settings.workloadTokens, [
        { tenant: "acme", name: "cluster", path: "/run/secrets/a=b" },
        { tenant: "other", name: "cluster", path: "/run/secrets/c" }
      ])
      assert.strictEqual(Duration.toMillis(settings.refreshAhead), 90_000)
      assert.strictEqual(Duration.toHours(settings.refreshUsedWithin), 12)
      assert.strictEqual(Duration.toMillis(settings.flowTtl), 90_000)
      assert.strictEqual(Redacted.value(settings.databaseUrl), server.DATABASE_URL)
      assert.notInclude(JSON.stringify(settings), "0123456789abcdef")
    }))

  it.effect("keep the audit chain for a year and receipts for a month unless told otherwise", () =>
    Effect.gen(function*() {
      const days = (env: Readonly<Record<string, string>>) =>
        Effect.map(
          load(env),
          (settings) => [settings.auditRetention, settings.receiptRetention].map((one) => Duration.toDays(one))
        )
      assert.deepStrictEqual(yield* days({}), [365, 30])
      const told = { VALETKEY_AUDIT_RETENTION: "2y", VALETKEY_REVOCATION_RETENTION: "1d" }
      assert.deepStrictEqual(yield* days(told), [730, 1])
      for (const name of Object.keys(told)) {
        for (const wrong of ["0d", "3651d", "1h", "forever", "-1d"]) {
          const error = yield* Effect.flip(load({ [name]: wrong }))
          assert.deepStrictEqual([error.code, error.variable], ["setting_invalid", name])
        }
      }
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

  it.effect("take root keys from a text, a file, a descriptor or Vault, and from one of them alone", () =>
    Effect.gen(function*() {
      const sources = [
        { VALETKEY_KEYS: "1:hunter2" },
        { VALETKEY_KEYS_FILE: "/hunter2" },
        { VALETKEY_KEYS_FD: "3" },
        wrapped
      ]
      const tags = yield* Effect.forEach(sources, (env) => Effect.map(load({ ...server, ...env }), ({ keys }) => keys))
      assert.deepStrictEqual(tags.map((keys) => keys?._tag), ["text", "file", "descriptor", "wrapped"])
      assert.deepInclude(tags[3], {
        vault: {
          address: "https://vault.example:8200",
          mount: "transit",
          key: "valetkey",
          namespace: undefined,
          context: undefined,
          tokenFile: "/run/vault/token"
        }
      })
      for (const [index, one] of sources.entries()) {
        for (const other of sources.slice(index + 1)) {
          const error = yield* Effect.flip(load({ ...server, ...one, ...other }))
          assert.strictEqual(error.code, "setting_conflict")
          assert.strictEqual(error.variable, Object.keys(other)[0])
          assert.notInclude(error.message, "hunter2")
        }
      }
      assert.isUndefined((yield* load(server)).keys)
    }))

  it.effect("take of Vault's address, names and paths only what leads where it says", () =>
    Effect.gen(function*() {
      const refused: Readonly<Record<string, ReadonlyArray<string>>> = {
        VALETKEY_VAULT_ADDR: [
          "hunter2",
          "http://hunter2.example:8200",
          "https://hunter2@vault.example",
          "https://vault.example/hunter2",
          "https://vault.example/?hunter2"
        ],
        VALETKEY_VAULT_KEY: ["hunter2/x", "..", "hunter2?", "hunter2.", "h".repeat(200)],
        VALETKEY_VAULT_MOUNT: ["/hunter2", "hunter2/", "hunter2/../x", "hunter2//x", "hunter2#"],
        VALETKEY_VAULT_NAMESPACE: ["hunter2 x", "../hunter2"],
        VALETKEY_VAULT_CONTEXT: ["h".repeat(257)]
      }
      for (const [variable, values] of Object.entries(refused)) {
        for (const value of values) {
          const error = yield* Effect.flip(load({ ...server, ...wrapped, [variable]: value }))
          assert.deepStrictEqual([error.code, error.variable], ["setting_invalid", variable], value)
          assert.notInclude(error.message, "hunter2")
        }
      }
      for (const variable of ["VALETKEY_VAULT_ADDR", "VALETKEY_VAULT_KEY", "VALETKEY_VAULT_TOKEN_FILE"]) {
        const error = yield* Effect.flip(load({ ...server, ...wrapped, [variable]: undefined }))
        assert.deepStrictEqual([error.code, error.variable], ["setting_missing", variable])
      }
      const settings = yield* load({
        ...server,
        ...wrapped,
        VALETKEY_VAULT_ADDR: "http://127.0.0.1:8200",
        VALETKEY_VAULT_MOUNT: "team/transit",
        VALETKEY_VAULT_NAMESPACE: "ns1/ns2",
        VALETKEY_VAULT_CONTEXT: "production"
      })
      if (settings.keys?._tag !== "wrapped") return assert.fail("no wrapped keys")
      assert.deepInclude(settings.keys.vault, { mount: "team/transit", namespace: "ns1/ns2", context: "production" })
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

  it.effect("S4.1 S4.6 give a person ten minutes to consent unless told otherwise", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual((yield* load({})).flowTtl, flowTtl)
      assert.strictEqual(Duration.toMinutes(flowTtl), 10)
      assert.strictEqual(Duration.toSeconds((yield* load({ VALETKEY_FLOW_TTL: "90s" })).flowTtl), 90)
    }))

  it.effect("S4.3 take a time to consent with its unit, and refuse what is none by the variable's name", () =>
    Effect.gen(function*() {
      for (const text of ["abc", "10 * 60 * 1000", "", "NaN", "1e3s", "10 minutes ago", "3601s"]) {
        const refused = yield* Effect.flip(load({ VALETKEY_FLOW_TTL: text || " " }))
        assert.include(refused.message, "VALETKEY_FLOW_TTL")
        if (text !== "") assert.notInclude(refused.message, text)
      }
    }))

  it.effect("S4x.8 are documented with the defaults that hold", () =>
    Effect.gen(function*() {
      const untouched = yield* load({ HOME: "/home/nobody" })
      const durations = variables.filter(({ fallback }) => /^\d+(s|m|h|d)$/.test(fallback))
      assert.isAtLeast(durations.length, 4)
      for (const { fallback, name } of durations) {
        assert.deepStrictEqual(yield* load({ HOME: "/home/nobody", [name]: fallback }), untouched, name)
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
