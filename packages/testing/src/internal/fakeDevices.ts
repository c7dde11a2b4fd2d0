import * as Canary from "../Canary.ts"
import type { Answer } from "../Reply.ts"
import { json, refuse } from "./fakeAnswers.ts"
import type { Behaviour, Incoming } from "./fakeBehaviour.ts"
import type { FakeClient, FakeClients } from "./fakeClients.ts"

interface Device {
  readonly clientId: string
  readonly scopes: ReadonlyArray<string>
  readonly resource: string | undefined
  state: "pending" | "approved" | "denied"
}

/** Devices that wait for their person. */
export class FakeDevices {
  readonly byCode = new Map<string, Device>()
  private readonly issuer: string
  private readonly behaviour: Behaviour
  private readonly clients: FakeClients

  constructor(issuer: string, behaviour: Behaviour, clients: FakeClients) {
    this.issuer = issuer
    this.behaviour = behaviour
    this.clients = clients
  }

  /** RFC 8628 section 3.2. */
  begin(request: Incoming): Answer {
    const client = this.clients.authenticate(request)
    if (client === undefined) return refuse("invalid_client", 401)
    const deviceCode = Canary.makeText("device_code")
    this.byCode.set(deviceCode, {
      clientId: client.clientId,
      scopes: this.behaviour.grantedScopes ?? scopesOf(request.form.get("scope")),
      resource: request.form.get("resource") ?? undefined,
      state: "pending"
    })
    return json(200, {
      device_code: deviceCode,
      user_code: "WDJB-MJHT",
      verification_uri: `${this.issuer}/activate`,
      expires_in: 600,
      interval: 5
    })
  }

  /** Gives what was approved, once, or the error to refuse with (RFC 8628 section 3.5). */
  redeem(client: FakeClient, form: URLSearchParams): Device | string {
    const code = form.get("device_code") ?? ""
    const row = this.byCode.get(code)
    if (row === undefined || row.clientId !== client.clientId) return "invalid_grant"
    if (row.state === "pending") return "authorization_pending"
    this.byCode.delete(code)
    return row.state === "denied" ? "access_denied" : row
  }
}

const scopesOf = (scope: string | null): ReadonlyArray<string> => (scope ?? "").split(" ").filter((one) => one !== "")
