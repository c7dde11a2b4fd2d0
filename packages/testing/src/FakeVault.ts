import { Effect, FiberSet, Redacted, type Scope } from "effect"
import { randomUUID } from "node:crypto"
import type { IncomingMessage, ServerResponse } from "node:http"
import * as Canary from "./Canary.ts"
import { type Outcome, TransitEngine } from "./internal/transitEngine.ts"
import { listen } from "./LoopbackServer.ts"
import * as Reply from "./Reply.ts"

/** One request as it arrived, token included: for assertions, not for printing. */
export interface VaultRequest {
  readonly method: string
  readonly path: string
  readonly headers: IncomingMessage["headers"]
  readonly body: Readonly<Record<string, unknown>>
}

/** A running stand-in for Vault with one transit engine. */
export interface FakeVault {
  /** What `VAULT_ADDR` would be. */
  readonly address: string
  readonly port: number
  /** A token that may do everything. */
  readonly root: Redacted.Redacted
  /** Makes a token that may use paths below the mount that begin like one of these, such as `decrypt/`. */
  issue(paths: ReadonlyArray<string>): Redacted.Redacted
  revoke(token: Redacted.Redacted): void
  /** A sealed Vault answers nobody. */
  seal(): void
  unseal(): void
  /** Plans the replies of the next requests, in the order of arrival; then it is honest again. */
  script(...replies: ReadonlyArray<Reply.Reply>): void
  /** Every request in the order of arrival. */
  readonly log: ReadonlyArray<VaultRequest>
  /** Uses the engine as an operator does, with the root token; the `data` of the answer. */
  write(path: string, body?: object): Effect.Effect<Readonly<Record<string, unknown>>>
}

/**
 * Starts a stand-in for HashiCorp Vault and OpenBao on 127.0.0.1 until the scope closes.
 *
 * It is true to the public documentation of Vault's HTTP API in what it has. "HTTP API": the prefix `/v1/`, the headers
 * `X-Vault-Token` and `X-Vault-Namespace`, POST and PUT as synonyms, `{"errors": [...]}` for every status from 400 on, 403
 * without permission, 404 for no path, 503 while sealed. "Transit secrets engine (API)": create, rotate and configure a
 * key, encrypt, decrypt and generate data key, with `context`, `associated_data`, `bits`, key versions, and ciphertexts of
 * AES-256-GCM as `vault:v1:` and base64. Everything else of Vault is absent.
 *
 * @see https://developer.hashicorp.com/vault/api-docs
 * @see https://developer.hashicorp.com/vault/api-docs/secret/transit
 */
export const make = (
  options: { readonly mount?: string; readonly namespace?: string } = {}
): Effect.Effect<FakeVault, never, Scope.Scope> =>
  Effect.gen(function*() {
    const { mount = "transit", namespace } = options
    const run = yield* FiberSet.makeRuntime()
    const engine = new TransitEngine()
    const policies = new Map<string, ReadonlyArray<string>>()
    const plans = new Array<Reply.Reply>()
    const log = new Array<VaultRequest>()
    let sealed = false

    const issue = (paths: ReadonlyArray<string>): Redacted.Redacted => {
      const token = `hvs.${Canary.makeText("vault_token")}`
      policies.set(token, paths)
      return Redacted.make(token)
    }

    const outcomeOf = ({ body, headers, method, path }: VaultRequest): Outcome => {
      if (sealed) return { status: 503, error: "Vault is sealed" }
      const below = path.startsWith(`/v1/${mount}/`) ? path.slice(mount.length + 5) : undefined
      const policy = policies.get(String(headers["x-vault-token"]))
      const elsewhere = String(headers["x-vault-namespace"] ?? "").replace(/\/+$/, "") !== (namespace ?? "")
      if (policy === undefined || elsewhere || !policy.some((allowed) => below?.startsWith(allowed) ?? true)) {
        return { status: 403, error: "permission denied" }
      }
      const none: Outcome = { status: 404, error: `no handler for route "${path.slice(4)}". route entry not found.` }
      if (below === undefined) return none
      if (method !== "POST" && method !== "PUT") return { status: 405, error: "unsupported operation" }
      return engine.run(below, body) ?? none
    }

    const answerOf = (outcome: Outcome): Reply.Answer => ({
      status: "data" in outcome ? 200 : outcome.status,
      headers: { "content-type": "application/json", "cache-control": "no-store" },
      body: JSON.stringify(
        "data" in outcome
          ? {
            request_id: randomUUID(),
            lease_id: "",
            renewable: false,
            lease_duration: 0,
            data: outcome.data,
            wrap_info: null,
            warnings: null,
            auth: null
          }
          : { errors: [outcome.error] }
      )
    })

    const serve = Effect.fnUntraced(function*(request: IncomingMessage, response: ServerResponse) {
      const arrived = yield* Effect.promise(() => read(request))
      log.push(arrived)
      let answer: Reply.Answer | undefined
      yield* (plans.shift() ?? Reply.normal)({
        response,
        form: new URLSearchParams(),
        from: request.socket.remoteAddress ?? "",
        process: () => answer ??= answerOf(outcomeOf(arrived)),
        send: ({ body, headers, status }) =>
          Effect.sync(() => {
            if (!response.destroyed) response.writeHead(status, headers).end(body)
          })
      })
    })
    const { origin, port } = yield* listen((request, response) => void run(serve(request, response)))
    const root = issue([""])

    return {
      address: origin,
      port,
      root,
      issue,
      revoke: (token) => void policies.delete(Redacted.value(token)),
      seal: () => {
        sealed = true
      },
      unseal: () => {
        sealed = false
      },
      script: (...replies) => void plans.push(...replies),
      log,
      write: (path, body = {}) =>
        Effect.promise(async () => {
          const response = await fetch(`${origin}/v1/${mount}/${path}`, {
            method: "POST",
            headers: {
              "x-vault-token": Redacted.value(root),
              ...(namespace === undefined ? {} : { "x-vault-namespace": namespace })
            },
            body: JSON.stringify(body)
          })
          if (!response.ok) throw new Error(`${path}: ${response.status}`)
          return ((await response.json()) as { readonly data: Readonly<Record<string, unknown>> }).data
        })
    }
  })

const read = async (request: IncomingMessage): Promise<VaultRequest> => {
  const chunks: Array<Buffer> = []
  for await (const chunk of request) chunks.push(chunk as Buffer)
  const text = Buffer.concat(chunks).toString()
  return {
    method: request.method ?? "",
    path: request.url ?? "/",
    headers: request.headers,
    body: text === "" ? {} : JSON.parse(text) as VaultRequest["body"]
  }
}
