import { Effect, Option, Redacted, Schema } from "effect"
import { isWrapped, type KeyService, KeyServiceError } from "./KeyService.ts"

/** A request to Vault, ready to be sent: JSON by POST. */
export interface VaultRequest {
  /** Path of the URL, from `/v1/` on. */
  readonly path: string
  readonly headers: Readonly<Record<string, string | Redacted.Redacted>>
  readonly body: string
}

/** A whole answer of Vault. */
export interface VaultAnswer {
  readonly status: number
  /** Overwritten once it was read. */
  readonly body: Uint8Array
}

/** Which transit key wraps the root keys, and how Vault is reached. */
export interface VaultTransitOptions {
  /** Path of the transit engine, `transit` in most places. */
  readonly mount: string
  /** Name of the key in it. */
  readonly key: string
  readonly namespace?: string | undefined
  /** Context of a key that was made with `derived=true`. */
  readonly context?: string | undefined
  /** The token as it is now; asked for before every request, so that a renewed one is found. */
  readonly token: Effect.Effect<Redacted.Redacted, KeyServiceError>
  /** Sends a request once and follows no redirect. */
  readonly send: (request: VaultRequest) => Effect.Effect<VaultAnswer, KeyServiceError>
}

/**
 * Makes the key service of a transit secrets engine of HashiCorp Vault or OpenBao.
 *
 * A root key is a data key of the engine: `datakey/wrapped` makes it without giving it away, `decrypt` unwraps it.
 *
 * @see https://developer.hashicorp.com/vault/api-docs/secret/transit sections "Decrypt data" and "Generate data key"
 */
export const make = (options: VaultTransitOptions): KeyService => {
  const { context, key, mount, namespace, send, token } = options
  const shared = context === undefined ? {} : { context: Buffer.from(context, "utf8").toString("base64") }

  const attempt =
    <A>(operation: string, body: object, read: (answer: unknown) => Option.Option<A>) => (secret: Redacted.Redacted) =>
      Effect.map(
        send({
          path: `/v1/${mount}/${operation}/${key}`,
          headers: {
            "content-type": "application/json",
            "x-vault-request": "true",
            "x-vault-token": secret,
            ...(namespace === undefined ? {} : { "x-vault-namespace": namespace })
          },
          body: JSON.stringify({ ...body, ...shared })
        }),
        (answer) => {
          const bytes = Buffer.from(answer.body.buffer, answer.body.byteOffset, answer.body.byteLength)
          const found = answer.status === 200 ? read(parse(bytes)) : Option.none<A>()
          bytes.fill(0)
          return { found, problem: problemOf(answer.status) ?? (Option.isNone(found) ? "malformed" : undefined) }
        }
      )

  const call = Effect.fnUntraced(function*<A>(
    operation: string,
    body: object,
    read: (answer: unknown) => Option.Option<A>
  ) {
    const once = attempt(operation, body, read)
    const first = yield* token
    let answer = yield* once(first)
    if (answer.problem === "denied") {
      // The token may have been replaced while it was on its way; the same one again would be refused again.
      const second = yield* token
      if (Redacted.value(second) !== Redacted.value(first)) answer = yield* once(second)
    }
    const { found, problem } = answer
    return Option.isSome(found) ? found.value : yield* new KeyServiceError({ problem: problem ?? "malformed" })
  })

  return {
    unwrap: (wrapped) => call("decrypt", { ciphertext: wrapped }, plaintextOf),
    create: call("datakey/wrapped", { bits: 256 }, ciphertextOf)
  }
}

const Ciphertext = Schema.String.check(Schema.makeFilter(isWrapped))
const decodePlaintext = Schema.decodeUnknownOption(Schema.Struct({ data: Schema.Struct({ plaintext: Schema.String }) }))
const decodeCiphertext = Schema.decodeUnknownOption(Schema.Struct({ data: Schema.Struct({ ciphertext: Ciphertext }) }))

const plaintextOf = (answer: unknown) =>
  Option.map(decodePlaintext(answer), ({ data }) => Buffer.from(data.plaintext, "base64"))
const ciphertextOf = (answer: unknown) => Option.map(decodeCiphertext(answer), ({ data }) => data.ciphertext)

const parse = (bytes: Buffer): unknown => {
  try {
    return JSON.parse(bytes.toString("utf8"))
  } catch {
    return undefined
  }
}

/** What a status means, as Vault's "HTTP API", section "HTTP status codes" has it. */
const problemOf = (status: number): KeyServiceError["problem"] | undefined => {
  if (status === 200) return undefined
  if (status === 400) return "rejected"
  if (status === 403) return "denied"
  if (status === 404 || status === 405) return "not_found"
  if (status === 429) return "limited"
  if (status === 501 || status === 503) return "sealed"
  return status >= 500 || status === 412 || status > 470 ? "failed" : "malformed"
}
