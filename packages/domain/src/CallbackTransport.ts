import { Context, Effect, Layer, type Redacted, Schema, type Scope } from "effect"
import type { CallbackReceived, CallbackRejected } from "./Authorization.ts"
import type { CipherError } from "./Cipher.ts"
import type { Digest } from "./Entropy.ts"
import { type Flow, type FlowId, TransportKind } from "./Flow.ts"
import type { PublicKey } from "./SigningKey.ts"
import type { StoreError } from "./StoreError.ts"

/** Error of opening a way for the authorization response to come back. Nothing stays open. */
export class TransportError extends Schema.TaggedError<TransportError>("valetkey/TransportError")("TransportError", {
  code: Schema.Literals([
    "transport_unavailable",
    "callback_port_unavailable",
    "public_url_missing",
    "device_unconfirmable"
  ]),
  transport: TransportKind
}) {
  override get message() {
    switch (this.code) {
      case "transport_unavailable":
        return this.transport === "gateway"
          ? "This server does not offer the gateway transport; start it with VALETKEY_PUBLIC_URL and a listener, or choose another with --transport"
          : `This server does not offer the ${this.transport} transport; choose another with --transport`
      case "callback_port_unavailable":
        return "No loopback port could be opened for the callback; free the port or let the system choose one"
      case "public_url_missing":
        return "The gateway transport needs a public URL; set VALETKEY_PUBLIC_URL"
      case "device_unconfirmable":
        return "A device flow brings no browser back, so an application cannot finalize it; leave confirmation out, or use the gateway transport"
    }
  }
}

/** What a transport tells a browser after it delivered a response. */
export interface Delivery {
  readonly flowId: FlowId
  /** SHA-256 of the `state`: names the flow to the browser that came back with it, and opens nothing. */
  readonly receipt: Digest
  /**
   * Where the browser goes on in place of a page: the registered return URL of an embedding application, with the
   * one-time completion code or the reason why there is none. Given out once.
   */
  readonly onward?: Redacted.Redacted | undefined
  /** Completes with the flow when it is settled; interrupting it changes nothing. */
  readonly settled: Effect.Effect<Flow, StoreError>
}

/** What a flow gives a transport to open with. */
export interface OpenRequest {
  readonly flowId: FlowId
  /** The connection context; part of the redirect URI where the transport shares an endpoint. */
  readonly context: string
  /** The redirect URI of an earlier registration; the transport opens it again when it can, and another when it cannot. */
  readonly preferred: string | undefined
  /** Hands over what arrived. A rejected response changes nothing and must not close the transport. */
  deliver(received: CallbackReceived): Effect.Effect<Delivery, CallbackRejected | CipherError | StoreError>
}

/** A way that is open. */
export interface OpenTransport {
  readonly redirectUri: string
  /**
   * Where a browser binds itself to the flow before it leaves, by the ticket. Present where any browser reaches the
   * redirect URI; absent where only the starter's own machine does.
   */
  readonly connectUrl?: ((ticket: Redacted.Redacted) => Redacted.Redacted) | undefined
}

/**
 * A client that a published document describes: its URL is the client id at authorization servers that read such documents
 * (OAuth Client ID Metadata Document, §3), and it names the redirect URI.
 */
export interface ClientDescription {
  readonly clientId: string
  /** A loopback one without port stands for any (RFC 8252 §7.3). */
  readonly redirectUri: string
}

/** Port: one way for the authorization response to come back. */
export interface CallbackTransport {
  readonly kind: TransportKind
  /** `open` only says where: it holds nothing, may be called for a flow that is not there yet, and ends with no scope. */
  readonly stateless?: boolean | undefined
  /** Who this client is by a document of its own, for a context; absent where none is published. */
  describe?(context: string): ClientDescription
  /** The same client at authorization servers that want a signature by the key. Absent where no such document can be published. */
  describeKeyed?(context: string, key: PublicKey): Effect.Effect<ClientDescription | undefined, CipherError>
  /** Whether a client id is that of a document which names the key, whatever tag it has. Present with `describeKeyed`. */
  isKeyed?(clientId: string, context: string, key: PublicKey): boolean
  /** Opens for one flow and for the life of the scope; responses are accepted when it returns. Closing is idempotent. */
  open(request: OpenRequest): Effect.Effect<OpenTransport, TransportError, Scope.Scope>
}

/** The transports that this process offers, and the one to use when a start names none. */
export class CallbackTransports extends Context.Service<CallbackTransports, {
  readonly preferred: TransportKind
  get(kind: TransportKind): Effect.Effect<CallbackTransport, TransportError>
}>()("@valetkey/domain/CallbackTransports") {
  /** Layer that offers the given transports; the first is the default. */
  static readonly layer = <E, R>(
    transports: readonly [
      Effect.Effect<CallbackTransport, E, R>,
      ...ReadonlyArray<Effect.Effect<CallbackTransport, E, R>>
    ]
  ): Layer.Layer<CallbackTransports, E, Exclude<R, Scope.Scope>> =>
    Layer.effect(
      CallbackTransports,
      Effect.gen(function*() {
        const [first, ...rest] = yield* Effect.all(transports)
        const byKind = new Map([first!, ...rest].map((transport) => [transport.kind, transport]))
        return CallbackTransports.of({
          preferred: first!.kind,
          get: (kind) => {
            const transport = byKind.get(kind)
            return transport === undefined
              ? Effect.fail(new TransportError({ code: "transport_unavailable", transport: kind }))
              : Effect.succeed(transport)
          }
        })
      })
    )
}
