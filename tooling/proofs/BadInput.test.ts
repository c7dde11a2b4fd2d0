import { assert, describe, it } from "@effect/vitest"
import type * as FakeProvider from "@valetkey/testing/FakeProvider"
import * as Reply from "@valetkey/testing/Reply"
import * as UserAgent from "@valetkey/testing/UserAgent"
import { Deferred, Effect, Fiber } from "effect"
import { join } from "node:path"
import * as Person from "../demo/Person.ts"
import * as Api from "./Api.ts"
import { healed, leavesNothing, Playground, settled } from "./Playground.ts"
import * as Refusal from "./Refusal.ts"

interface Lie {
  readonly what: string
  readonly lie: (provider: FakeProvider.FakeProvider) => void
  readonly code: string
  readonly status: number
}

const always = (endpoint: FakeProvider.Endpoint, reply: Reply.Reply) => (provider: FakeProvider.FakeProvider) =>
  provider.always(endpoint, reply)

const lies: ReadonlyArray<Lie> = [
  {
    what: "an authorization server that is down",
    lie: always("resourceMetadata", Reply.patch({ authorization_servers: ["http://127.0.0.1:1"] })),
    code: "authorization_server_unreachable",
    status: 502
  },
  {
    what: "DISC-06 metadata of another issuer",
    lie: always("serverMetadata", Reply.patch({ issuer: "http://127.0.0.1:1" })),
    code: "issuer_mismatch",
    status: 502
  },
  {
    what: "DISC-07 metadata of another resource",
    lie: always("resourceMetadata", Reply.patch({ resource: "https://other.example/" })),
    code: "metadata_invalid",
    status: 502
  },
  {
    what: "metadata that is a web page",
    lie: always("serverMetadata", Reply.html(200)),
    code: "metadata_invalid",
    status: 502
  },
  {
    what: "metadata without end",
    lie: always("serverMetadata", Reply.endless),
    code: "metadata_invalid",
    status: 502
  },
  {
    what: "metadata without PKCE",
    lie: always("serverMetadata", Reply.patch({ code_challenge_methods_supported: undefined })),
    code: "pkce_unsupported",
    status: 422
  },
  {
    what: "a token endpoint that is a file",
    lie: always("serverMetadata", Reply.patch({ token_endpoint: "file:///etc/passwd" })),
    code: "metadata_invalid",
    status: 502
  },
  {
    what: "no registration",
    lie: always("serverMetadata", Reply.patch({ registration_endpoint: undefined })),
    code: "registration_unsupported",
    status: 422
  },
  {
    what: "a refused registration",
    lie: always("registration", Reply.error("invalid_client_metadata")),
    code: "registration_refused",
    status: 502
  }
]

const answers: ReadonlyArray<Omit<Lie, "status"> & { readonly flow: string }> = [
  {
    what: "a denied consent",
    lie: (provider) => void (provider.behaviour.consent = { error: "access_denied" }),
    code: "access_denied",
    flow: "failed"
  },
  {
    what: "TOK-12 a token endpoint that answers HTML with 200",
    lie: always("token", Reply.html(200)),
    code: "flow_outcome_unknown",
    flow: "outcome_unknown"
  },
  {
    what: "TOK-19 a token endpoint that answers HTML with 400",
    lie: always("token", Reply.html(400)),
    code: "authorization_server_unavailable",
    flow: "failed"
  },
  {
    what: "a token endpoint behind a firewall's page",
    lie: always("token", Reply.html(503)),
    code: "authorization_server_unavailable",
    flow: "failed"
  },
  {
    what: "a refused code",
    lie: always("token", Reply.error("invalid_grant")),
    code: "code_rejected",
    flow: "failed"
  }
]

describe("bad input", () =>
  it.layer(Playground.layer(), { timeout: "30 seconds", excludeTestServices: true })((it) => {
    it.effect("I25 an unknown name is refused with what to do instead", () =>
      leavesNothing(Effect.gen(function*() {
        const { api, newName, valetkey } = yield* Playground
        const name = newName()
        Refusal.command(yield* valetkey(["connect", name, "--json"]), { code: "server_not_found", exit: 1 })
        Refusal.command(yield* valetkey(["token", name, "--json"]), { code: "connection_not_found", exit: 1 })
        Refusal.api(yield* api.call("POST", "/v1/flows", { body: { server: name } }), {
          code: "server_not_found",
          status: 404
        })
        Refusal.api(yield* api.call("POST", `/v1/connections/${name}/token`, { body: {} }), {
          code: "connection_not_found",
          status: 404
        })
        Refusal.api(yield* api.call("GET", `/v1/servers/${name}`), { code: "server_not_found", status: 404 })
        Refusal.api(yield* api.call("GET", "/v1/flows/00000000-0000-0000-0000-000000000000"), {
          code: "flow_not_found",
          status: 404
        })
      })))

    it.effect("I25 a malformed URL is refused before anything is asked", () =>
      leavesNothing(Effect.gen(function*() {
        const { api, newName, provider, valetkey } = yield* Playground
        const asked = provider.log.length
        for (const url of ["http://", "ftp://files.example/mcp", "javascript://alert(1)"]) {
          Refusal.command(yield* valetkey(["connect", url, "--json"]), { code: "usage", exit: 2 })
          const answer = yield* api.call("PUT", `/v1/servers/${newName()}`, { body: { resource: url } })
          Refusal.api(answer, { code: "invalid_request", status: 400 })
          assert.deepInclude((answer.json["errors"] as ReadonlyArray<{ readonly path: unknown }>)[0], {
            path: ["payload", "resource"]
          })
        }
        assert.strictEqual(provider.log.length, asked)
      })))

    it.effect("API-05 API-06 a request that is no request of ours is refused whole", () =>
      leavesNothing(Effect.gen(function*() {
        const { api, newName } = yield* Playground
        const path = `/v1/connections/${newName()}`
        const deposit = { tokenEndpoint: "https://as.example/token", refreshToken: "r", clientId: "c" }
        const invalid = { code: "invalid_request", status: 400 }
        Refusal.api(yield* api.call("PUT", path, { body: { ...deposit, surprise: 1 } }), invalid)
        Refusal.api(yield* api.call("PUT", path, { body: { ...deposit, refreshToken: 7 } }), invalid)
        Refusal.api(yield* api.call("PUT", path, { body: "{\"tokenEndpoint\":" }), invalid)
        Refusal.api(yield* api.call("PUT", path, { body: [deposit] }), invalid)
        Refusal.api(yield* api.call("GET", "/v1/flows/x?wait=abc"), invalid)
        Refusal.api(yield* api.call("GET", path, { token: "another" }), { code: "unauthorized", status: 401 })
        Refusal.api(yield* api.call("GET", "/v1/nowhere"), { code: "not_found", status: 404 })
      })))

    it.effect("an unreachable resource and one that nobody may reach start nothing", () =>
      leavesNothing(Effect.gen(function*() {
        const { api, newName, valetkey } = yield* Playground
        const closed = `http://127.0.0.1:${yield* Api.freePort}/mcp`
        const finished = yield* valetkey(["connect", closed, "--name", newName(), "--json"])
        Refusal.command(finished, { code: "resource_unreachable", exit: 1 })
        const name = newName()
        const inner = "http://169.254.169.254/latest/meta-data"
        Refusal.api(yield* api.call("PUT", `/v1/servers/${name}`, { body: { resource: inner } }), {
          code: "egress_refused",
          status: 422
        })
        Refusal.command(yield* valetkey(["connect", inner, "--name", name, "--json"]), {
          code: "egress_refused",
          exit: 1
        })
        Refusal.api(yield* api.call("POST", "/v1/flows", { body: { server: name } }), {
          code: "server_not_found",
          status: 404
        })
      })))

    for (const { code, lie, status, what } of lies) {
      it.effect(`${what} is told as ${code}`, () =>
        leavesNothing(Effect.gen(function*() {
          const { api, newName, provider } = yield* Playground
          lie(provider)
          const name = newName()
          yield* api.call("PUT", `/v1/servers/${name}`, { body: { resource: provider.resource } })
          Refusal.api(yield* api.call("POST", "/v1/flows", { body: { server: name } }), { code, status })
          assert.strictEqual(provider.requests("authorization").length, provider.requests("token").length)
        })))
    }

    it.effect("I25 lying metadata ends the command with 1 and leaves nothing that a second try would meet", () =>
      healed(Effect.gen(function*() {
        const { newName, person, provider, valetkey } = yield* Playground
        const name = newName()
        provider.always("serverMetadata", Reply.patch({ issuer: "http://127.0.0.1:1" }))
        const args = ["connect", provider.resource, "--name", name, "--json"]
        yield* leavesNothing(
          Effect.map(valetkey(args), (end) => Refusal.command(end, { code: "issuer_mismatch", exit: 1 }))
        )
        const [finished] = yield* Person.during(person, valetkey(args))
        assert.strictEqual(finished.code, 0, finished.stdout)
        assert.strictEqual((yield* valetkey(["disconnect", name])).code, 0)
        yield* settled
      })))

    for (const { code, flow, lie, what } of answers) {
      it.effect(`${what} ends the flow as ${code}`, () =>
        leavesNothing(Effect.gen(function*() {
          const { api, newName, provider } = yield* Playground
          const name = newName()
          yield* api.call("PUT", `/v1/servers/${name}`, { body: { resource: provider.resource } })
          const started = yield* api.call("POST", "/v1/flows", { body: { server: name } })
          lie(provider)
          const page = yield* UserAgent.make().authorize(String(started.json["authorizationUrl"]))
          assert.strictEqual(page.status, 200)
          assert.notInclude(page.body, "Request blocked")
          const ended = yield* api.call("GET", `/v1/flows/${String(started.json["flowId"])}?wait=10`)
          assert.strictEqual(ended.json["status"], flow)
          const failure = ended.json["failure"] as { readonly code: string } | undefined
          assert.strictEqual(failure?.code ?? `flow_${String(ended.json["status"])}`, code)
        })))
    }

    for (const { code, lie, what } of answers.slice(0, 2)) {
      it.effect(`I25 DAEM-10 the command tells of ${what.replace(/^[A-Z]+-\d+ /, "")} and ends with 1`, () =>
        leavesNothing(Effect.gen(function*() {
          const { newName, person, provider, valetkey } = yield* Playground
          lie(provider)
          const args = ["connect", provider.resource, "--name", newName(), "--json"]
          const [finished] = yield* Person.during(person, valetkey(args))
          Refusal.command(finished, { code, exit: 1 })
        })))
    }

    it.effect("a URL that leads nowhere does not keep the name that was given to it", () =>
      Effect.gen(function*() {
        const { api, newName, person, provider, valetkey } = yield* Playground
        const name = newName()
        const nowhere = `http://127.0.0.1:${yield* Api.freePort}/mcp`
        const finished = yield* valetkey(["connect", nowhere, "--name", name, "--json"])
        Refusal.command(finished, { code: "resource_unreachable", exit: 1 })
        assert.strictEqual((yield* api.call("GET", `/v1/servers/${name}`)).status, 404)
        const [right] = yield* Person.during(person, valetkey(["connect", provider.resource, "--name", name]))
        assert.strictEqual(right.code, 0, right.stderr)
      }))

    it.effect("DAEM-12 Ctrl-C cancels the flow, ends with 130, and a late answer changes nothing", () =>
      leavesNothing(Effect.gen(function*() {
        const { api, newName, provider, valetkey } = yield* Playground
        const name = newName()
        const shown = yield* Deferred.make<string>()
        const finished = yield* valetkey(["connect", provider.resource, "--name", name, "--no-browser"], {
          onOutput: (_, text) => {
            const url = /http\S+authorize\S+/.exec(text)?.[0]
            if (url !== undefined) Deferred.doneUnsafe(shown, Effect.succeed(url))
          },
          signal: { name: "SIGINT", when: Deferred.await(shown) }
        })
        assert.strictEqual(finished.code, 130, finished.stderr)
        const url = new URL(yield* Deferred.await(shown))
        const late = yield* Effect.flip(UserAgent.make().authorize(url))
        assert.match(late.message, /^No answer/)
        assert.strictEqual((yield* api.call("GET", `/v1/connections/${name}`)).status, 404)
      })))

    it.effect("without a browser the command shows the URL, and whoever opens it elsewhere connects", () =>
      Effect.gen(function*() {
        const { newName, provider, valetkey } = yield* Playground
        const name = newName()
        const shown = yield* Deferred.make<string>()
        const { env } = yield* Playground
        const connecting = yield* Effect.forkChild(valetkey(["connect", provider.resource, "--name", name], {
          env: { ...env, BROWSER: join(env["VALETKEY_HOME"] ?? "", "no-such-browser") },
          onOutput: (_, text) => {
            const url = /No browser could be opened; open the URL yourself: (\S+)/.exec(text)?.[1]
            if (url !== undefined) Deferred.doneUnsafe(shown, Effect.succeed(url))
          }
        }))
        yield* UserAgent.make().authorize(yield* Deferred.await(shown))
        const finished = yield* Fiber.join(connecting)
        assert.strictEqual(finished.code, 0, finished.stderr)
        assert.match(finished.stdout, /^Connected to /)
      }))

    it.effect("I25 DAEM-10 DAEM-11 wrong usage ends with 2 and an unreachable server with 3, whatever the command", () =>
      Effect.gen(function*() {
        const { valetkey } = yield* Playground
        const nowhere = {
          env: { PATH: process.env["PATH"], VALETKEY_HOME: "/nonexistent/valetkey", VALETKEY_TOKEN: "t" }
        }
        const usage = { code: "usage", exit: 2 }
        const unreachable = { code: "server_unreachable", exit: 3 }
        const ends = yield* Effect.all([
          valetkey(["conect", "--json"]),
          valetkey(["token", "--json"]),
          valetkey(["token", "x", "--min-validity", "soon", "--json"]),
          valetkey(["list", "--json", "--no-start"], nowhere),
          valetkey(["token", "x", "--json", "--server", `http://127.0.0.1:${yield* Api.freePort}`], nowhere)
        ], { concurrency: 2 })
        for (const finished of ends.slice(0, 3)) Refusal.command(finished, usage)
        for (const finished of ends.slice(3)) Refusal.command(finished, unreachable)
      }))
  }))
