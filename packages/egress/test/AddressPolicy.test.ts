import { assert, describe, it } from "@effect/vitest"
import { Effect, type Layer, Result } from "effect"
import * as AddressPolicy from "../src/AddressPolicy.ts"
import { Egress } from "../src/Egress.ts"
import * as Dials from "./Dials.ts"

/** What a request of a given trust came to: `dialled`, or the rule that refused it. */
const attempt = (url: string, trust: AddressPolicy.Trust = "public") =>
  Effect.gen(function*() {
    const egress = yield* Egress
    const { reason, sent } = yield* Effect.flip(egress.execute({ method: "POST", url, body: "secret" }, { trust }))
    assert.isFalse(sent)
    return reason._tag === "Refused" ? reason.rule : "dialled"
  })

const answering = (addresses: Record<string, ReadonlyArray<string>>) => (hostname: string) =>
  Promise.resolve(addresses[hostname] ?? [])

const server = (
  options: AddressPolicy.AddressPolicyOptions = {},
  addresses: Record<string, ReadonlyArray<string>> = {}
) => Egress.layer({ policy: AddressPolicy.globalOnly(options), resolve: answering(addresses) })

const local = (
  options: AddressPolicy.AddressPolicyOptions = {},
  addresses: Record<string, ReadonlyArray<string>> = {}
) => Egress.layer({ policy: AddressPolicy.local(options), resolve: answering(addresses) })

/** Runs attempts on a client, and gives back the addresses that it dialled. */
const dialsOf = <E>(layer: Layer.Layer<Egress, E>, body: Effect.Effect<void, unknown, Egress>) =>
  Effect.scoped(Effect.gen(function*() {
    const dials = yield* Dials.record
    yield* Effect.provide(body, layer)
    return dials
  }))

const literals = [
  "https://127.0.0.1/",
  "https://10.0.0.1/",
  "https://172.16.0.1/",
  "https://192.168.1.1/",
  "https://169.254.169.254/latest/meta-data",
  "https://100.64.0.1/",
  "https://0.0.0.0/",
  "https://224.0.0.1/",
  "https://240.0.0.1/",
  "https://192.0.0.1/",
  "https://198.18.0.1/",
  "https://[::1]/",
  "https://[::]/",
  "https://[fc00::1]/",
  "https://[fe80::1]/",
  "https://[ff02::1]/"
]

const spellings = [
  "https://0x7f.1/",
  "https://0x7f000001/",
  "https://2130706433/",
  "https://017700000001/",
  "https://0177.0.0.1/",
  "https://127.1/",
  "https://127.0.1/",
  "https://①②⑦.0.0.1/",
  "https://１２７.0.0.1/",
  "https://127。0。0。1/",
  "https://%31%32%37.0.0.1/",
  "https://127.0.0.1./",
  "https://0/",
  "https://0xa9fea9fe/"
]

const embedded = [
  "https://[::ffff:127.0.0.1]/",
  "https://[::ffff:7f00:1]/",
  "https://[::127.0.0.1]/",
  "https://[::ffff:0:127.0.0.1]/",
  "https://[64:ff9b::169.254.169.254]/",
  "https://[64:ff9b:1::127.0.0.1]/",
  "https://[2002:7f00:1::]/",
  "https://[2001:0:4136:e378:8000:63bf:80ff:fffe]/",
  "https://[2606:4700::5efe:10.0.0.1]/"
]

describe("globalOnly", () => {
  it.effect("S3x.1 SSRF-01 SSRF-02 SSRF-03 I15 refuses every spelling of a non-global literal and dials nothing", () =>
    Effect.gen(function*() {
      const dials = yield* dialsOf(
        server(),
        Effect.forEach([...literals, ...spellings, ...embedded], (url) =>
          Effect.gen(function*() {
            assert.strictEqual(yield* attempt(url), "address", url)
            assert.strictEqual(yield* attempt(url, "loopback"), "address", url)
            assert.notStrictEqual(yield* attempt(url.replace("https:", "http:")), "dialled", url)
          }), { discard: true })
      )
      assert.deepStrictEqual(dials, [])
    }))

  it.effect("SSRF-07 refuses names that mean this machine or this network, with or without the root's dot", () =>
    Effect.gen(function*() {
      const names = [
        "localhost",
        "foo.localhost",
        "metadata.google.internal",
        "db.internal",
        "printer.local",
        "x.onion"
      ]
      const dials = yield* dialsOf(
        server({}, Object.fromEntries(names.map((name) => [name, ["1.1.1.1"]]))),
        Effect.forEach(
          names.flatMap((name) => [name, `${name}.`, name.toUpperCase()]),
          (name) =>
            Effect.gen(function*() {
              assert.include(["host", "address"], yield* attempt(`https://${name}/`), name)
            }),
          { discard: true }
        )
      )
      assert.deepStrictEqual(dials, [])
    }))

  it.effect("SSRF-08 refuses userinfo, other schemes and plain http, and judges the host that is dialled", () =>
    Effect.gen(function*() {
      const dials = yield* dialsOf(
        server({}, { "good.example": ["1.1.1.1"], "evil.example": ["10.0.0.1"] }),
        Effect.gen(function*() {
          assert.strictEqual(yield* attempt("https://good.example@evil.example/"), "url")
          assert.strictEqual(yield* attempt("https://user:pass@good.example/"), "url")
          assert.strictEqual(yield* attempt("https://evil.example\\@good.example/"), "address")
          assert.strictEqual(yield* attempt("http://good.example/"), "scheme")
          for (
            const url of ["ftp://good.example/", "gopher://good.example/", "unix:/run/x.sock", "file:///etc/passwd"]
          ) {
            assert.strictEqual(yield* attempt(url), "scheme", url)
          }
          assert.strictEqual(yield* attempt("no url"), "url")
          assert.strictEqual(yield* attempt("https://good.example/"), "dialled")
        })
      )
      assert.deepStrictEqual(dials, ["1.1.1.1"])
    }))

  it.effect("SSRF-08 calls other ports only if the policy names them", () =>
    Effect.gen(function*() {
      yield* dialsOf(
        server({ ports: [443, 8443] }, { "good.example": ["1.1.1.1"] }),
        Effect.gen(function*() {
          assert.strictEqual(yield* attempt("https://good.example:22/"), "port")
          assert.strictEqual(yield* attempt("https://good.example:8443/"), "dialled")
          assert.strictEqual(yield* attempt("https://good.example/"), "dialled")
        })
      )
    }))

  it.effect("SSRF-04 I15 refuses a name unless every one of its addresses is global", () =>
    Effect.gen(function*() {
      const dials = yield* dialsOf(
        server({}, {
          "private.example": ["10.0.0.1"],
          "mixed.example": ["1.1.1.1", "127.0.0.1"],
          "mixed6.example": ["2606:4700::1", "::ffff:10.0.0.1"],
          "public.example": ["1.1.1.1", "2606:4700::1"]
        }),
        Effect.gen(function*() {
          for (const name of ["private", "mixed", "mixed6"]) {
            assert.strictEqual(yield* attempt(`https://${name}.example/`), "address", name)
          }
          assert.strictEqual(yield* attempt("https://public.example/"), "dialled")
        })
      )
      assert.deepStrictEqual(dials, ["1.1.1.1", "2606:4700::1"])
    }))

  it.effect("SSRF-05 I15 dials only what it checked when a name's answer changes between two look-ups", () =>
    Effect.gen(function*() {
      let answers = 0
      const rebinding = Egress.layer({
        policy: AddressPolicy.globalOnly(),
        resolve: () => Promise.resolve([++answers % 2 === 1 ? "1.1.1.1" : "127.0.0.1"])
      })
      const outcomes: Array<string> = []
      const dials = yield* dialsOf(
        rebinding,
        Effect.gen(function*() {
          for (let round = 0; round < 200; round++) outcomes.push(yield* attempt("https://rebind.example/"))
        })
      )
      assert.strictEqual(answers, 200)
      assert.deepStrictEqual(outcomes, outcomes.map((_, index) => index % 2 === 0 ? "dialled" : "address"))
      assert.deepStrictEqual([...new Set(dials)], ["1.1.1.1"])
    }))

  it.effect("SSRF-13 I15 reaches a listed endpoint and no other port, name or address of it", () =>
    Effect.gen(function*() {
      const dials = yield* dialsOf(
        server({ allow: ["127.0.0.1:9000", "db.internal:8443", "[::1]:9000"] }, {
          "db.internal": ["10.0.0.9"],
          "alias.example": ["127.0.0.1"]
        }),
        Effect.gen(function*() {
          assert.strictEqual(yield* attempt("http://127.0.0.1:9000/"), "dialled")
          assert.strictEqual(yield* attempt("http://[::1]:9000/"), "dialled")
          assert.strictEqual(yield* attempt("https://db.internal:8443/"), "dialled")
          assert.strictEqual(yield* attempt("http://127.0.0.1:9001/"), "address")
          assert.strictEqual(yield* attempt("http://127.0.0.2:9000/"), "address")
          assert.strictEqual(yield* attempt("http://localhost:9000/"), "address")
          assert.strictEqual(yield* attempt("https://db.internal/"), "host")
          assert.strictEqual(yield* attempt("https://alias.example:9000/"), "address")
        })
      )
      assert.deepStrictEqual(dials, ["127.0.0.1", "::1", "10.0.0.9"])
    }))

  it.effect("SSRF-12 never calls its own endpoints, listed or not", () =>
    Effect.gen(function*() {
      const dials = yield* dialsOf(
        server(
          { refuse: ["broker.example:443", "127.0.0.1:8080"], allow: ["127.0.0.1:8080"] },
          { "broker.example": ["1.1.1.1"] }
        ),
        Effect.gen(function*() {
          assert.strictEqual(yield* attempt("https://broker.example/callback"), "own_endpoint")
          assert.strictEqual(yield* attempt("https://BROKER.example.:443/"), "own_endpoint")
          for (const host of ["127.0.0.1", "127.0.0.2", "[::1]", "localhost", "LOCALHOST."]) {
            assert.strictEqual(yield* attempt(`http://${host}:8080/`, "loopback"), "own_endpoint", host)
          }
        })
      )
      assert.deepStrictEqual(dials, [])
    }))
})

describe("local", () => {
  it.effect("SSRF-13 I15 lets a loopback resource lead to loopback, and a public one never", () =>
    Effect.gen(function*() {
      const dials = yield* dialsOf(
        local({}, { localhost: ["127.0.0.1", "::1"] }),
        Effect.gen(function*() {
          for (const url of ["http://127.0.0.1:9000/", "http://[::1]:9000/", "http://localhost:9000/"]) {
            assert.strictEqual(yield* attempt(url, "loopback"), "dialled", url)
            assert.strictEqual(yield* attempt(url, "public"), "address", url)
          }
        })
      )
      assert.deepStrictEqual(dials, ["127.0.0.1", "::1", "127.0.0.1", "::1"])
    }))

  it.effect("SSRF-05 SSRF-13 gives a loopback resource nothing else that is private, and no name of somebody else", () =>
    Effect.gen(function*() {
      const dials = yield* dialsOf(
        local({}, { "sneaky.example": ["127.0.0.1"], localhost: ["10.0.0.1"], "public.example": ["1.1.1.1"] }),
        Effect.gen(function*() {
          for (
            const url of [
              "https://10.0.0.1/",
              "https://[::ffff:127.0.0.1]/",
              "https://0.0.0.0/",
              "https://sneaky.example/",
              "http://localhost/"
            ]
          ) {
            assert.strictEqual(yield* attempt(url, "loopback"), "address", url)
          }
          assert.strictEqual(yield* attempt("http://public.example/", "loopback"), "scheme")
          assert.strictEqual(yield* attempt("https://public.example/", "loopback"), "dialled")
        })
      )
      assert.deepStrictEqual(dials, ["1.1.1.1"])
    }))
})

describe("trustOf", () => {
  it("takes loopback literals and localhost, and nothing that only resolves or embeds", () => {
    for (const url of ["http://127.0.0.1:3000/mcp", "http://127.9.9.9/", "http://[::1]/", "http://localhost:1/"]) {
      assert.strictEqual(AddressPolicy.trustOf(url), "loopback", url)
    }
    for (
      const url of [
        "https://mcp.example/",
        "http://localhost.example/",
        "http://[::ffff:127.0.0.1]/",
        "http://10.0.0.1/",
        "?"
      ]
    ) {
      assert.strictEqual(AddressPolicy.trustOf(url), "public", url)
    }
  })
})

describe("parseEndpoints", () => {
  it("normalises a list of host:port", () => {
    const list = " db.internal:8443, 127.0.0.1:80 ,[::1]:9000,Example.COM.:443,"
    assert.deepStrictEqual(
      Result.getOrThrow(AddressPolicy.parseEndpoints(list)),
      ["db.internal:8443", "127.0.0.1:80", "[::1]:9000", "example.com:443"]
    )
    assert.deepStrictEqual(Result.getOrThrow(AddressPolicy.parseEndpoints("")), [])
  })

  it("SSRF-13 refuses anything that is not exactly host:port, by position and without quoting it", () => {
    for (
      const entry of [
        "*:443",
        "*.example.com:443",
        "10.0.0.0/8",
        "https://secret.example:1",
        "host",
        "host:",
        ":80",
        "h:0",
        "h:70000",
        "u@h:1",
        "::1:80"
      ]
    ) {
      const result = AddressPolicy.parseEndpoints(`ok.example:1,${entry}`)
      assert.isTrue(Result.isFailure(result), entry)
      if (Result.isFailure(result)) {
        assert.strictEqual(result.failure.entry, 2)
        assert.notInclude(result.failure.message, "secret.example")
      }
    }
  })
})
