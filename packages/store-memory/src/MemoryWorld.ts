import type { ApiKey, ApiKeyId } from "@valetkey/domain/ApiKey"
import type { AuditEntry } from "@valetkey/domain/AuditEvent"
import type { AuditHead } from "@valetkey/domain/AuditLog"
import type { Connection } from "@valetkey/domain/Connection"
import type { ConsoleSession } from "@valetkey/domain/ConsoleSession"
import type { Digest } from "@valetkey/domain/Entropy"
import type { Flow, FlowId, FrozenAuthorization, FrozenDevice, FrozenTicket } from "@valetkey/domain/Flow"
import type { InstanceRecord } from "@valetkey/domain/InstanceStore"
import type { RegisteredKey } from "@valetkey/domain/KeyRegister"
import type { EndpointState } from "@valetkey/domain/Pacing"
import type { RefreshPhase } from "@valetkey/domain/Refresh"
import type { Registration } from "@valetkey/domain/RegistrationStore"
import type { Revocation } from "@valetkey/domain/RevocationOutbox"
import type { ReceiptId, RevocationReceipt } from "@valetkey/domain/RevocationReceipt"
import type { Sealed } from "@valetkey/domain/Sealed"
import type { Server } from "@valetkey/domain/Server"
import type { SpoolEntry } from "@valetkey/domain/Spool"
import type { TenantId } from "@valetkey/domain/Tenant"
import type { TenantKey } from "@valetkey/domain/TenantKeyStore"
import { Context, type DateTime, type Duration, Layer } from "effect"

/** A flow with what only the store knows of it. Rows are replaced, never changed in place. */
export interface FlowRow {
  readonly flow: Flow
  readonly fence: number
  readonly leaseUntil: number
  readonly authorization?: FrozenAuthorization | undefined
  readonly ticket?: FrozenTicket | undefined
  /** By which its browser finds the flow; outlives the authorization. */
  readonly hashes?: { readonly stateHash: Digest; readonly bindingHash?: Digest | undefined } | undefined
  readonly code?: Sealed | undefined
  readonly device?: DeviceState | undefined
}

/** A device code and when it is asked about next, in milliseconds. */
export interface DeviceState {
  readonly frozen: FrozenDevice
  readonly dueAt: number
  readonly interval: Duration.Duration
  readonly failures: number
  readonly doubtful: boolean
}

/** A connection with what only the store knows of it. */
export interface ConnectionRow {
  readonly connection: Connection
  readonly phase: RefreshPhase
  readonly fence: number
  readonly attempts: number
  readonly leaseUntil: number
  readonly notBefore: number
  readonly resultId?: string | undefined
  /** When it is looked at next, in milliseconds; undefined for never. */
  readonly renewAt: number | undefined
  readonly endingTold?: DateTime.Utc | undefined
}

/** A revocation with the time at which it is due. */
export interface OutboxRow {
  readonly revocation: Revocation
  readonly dueAt: number
}

/** A root key with the time at which it was last primary, in milliseconds. */
export interface KeyRow extends RegisteredKey {
  readonly demotedAt: number
}

/** A deletion of a tenant, with its times in milliseconds. */
export interface DeletionRow {
  readonly requestedAt: number
  /** When nothing that was under way at the mark can end any more. */
  readonly quietAt: number
  readonly deletedAt: number | undefined
}

/** A link or a session of the console, with its times in milliseconds. */
export interface ConsoleRow {
  readonly session: ConsoleSession
  readonly ticketHash: Digest
  readonly ticketUntil: number
  readonly sessionHash: Digest | undefined
  readonly seenAt: number
}

/** Service: the one state behind all ports in memory, so that a step which concerns two of them is one step. */
export class MemoryWorld extends Context.Service<MemoryWorld, {
  /** In the order of creation. */
  readonly flows: Map<FlowId, FlowRow>
  /** The open flow of each connection, by the key's path. */
  readonly slots: Map<string, FlowId>
  readonly states: Map<Digest, FlowId>
  readonly tickets: Map<Digest, FlowId>
  readonly connections: Map<string, ConnectionRow>
  readonly outbox: Map<string, OutboxRow>
  /** In the order of creation. */
  readonly receipts: Map<ReceiptId, RevocationReceipt>
  /** Lives of connections that were forgotten, in the order of forgetting, with the time in milliseconds. */
  readonly forgotten: Map<string, { readonly tenant: TenantId; readonly at: number }>
  readonly registrations: Map<string, Registration>
  /** The client ids of documents, below their tenants. */
  readonly clientDocuments: Map<string, string>
  readonly registrationTurns: Map<string, { readonly turn: string; readonly until: number }>
  readonly servers: Map<string, Server>
  readonly spool: Map<string, SpoolEntry>
  readonly keys: Map<number, KeyRow>
  /** Whose the store is. */
  readonly instance: { record: InstanceRecord | undefined }
  readonly apiKeys: Map<ApiKeyId, { readonly key: ApiKey; readonly digest: Digest }>
  /** By the hash of the ticket. */
  readonly consoles: Map<Digest, ConsoleRow>
  /** Every tenant's chain, in the order of appending. */
  readonly audit: Array<AuditEntry>
  readonly auditHeads: Map<TenantId, AuditHead>
  readonly deletions: Map<TenantId, DeletionRow>
  /** When the names of deleted tenants were allowed again, in milliseconds. */
  readonly allowances: Map<TenantId, number>
  readonly tenantKeys: Map<TenantId, TenantKey>
  /** Token endpoints of which something is known, by tenant and URL. */
  readonly endpoints: Map<string, { readonly tenant: TenantId; readonly state: EndpointState }>
  /** The holders of each provider's slots. */
  readonly redemptionSlots: Map<string, Map<number, { readonly holder: string; readonly leaseUntil: number }>>
}>()("@valetkey/store-memory/MemoryWorld") {
  /** Layer that begins with nothing. */
  static readonly layer: Layer.Layer<MemoryWorld> = Layer.sync(MemoryWorld, () => ({
    flows: new Map(),
    slots: new Map(),
    states: new Map(),
    tickets: new Map(),
    connections: new Map(),
    outbox: new Map(),
    receipts: new Map(),
    forgotten: new Map(),
    registrations: new Map(),
    clientDocuments: new Map(),
    registrationTurns: new Map(),
    servers: new Map(),
    spool: new Map(),
    keys: new Map(),
    instance: { record: undefined },
    apiKeys: new Map(),
    consoles: new Map(),
    audit: [],
    auditHeads: new Map(),
    deletions: new Map(),
    allowances: new Map(),
    tenantKeys: new Map(),
    endpoints: new Map(),
    redemptionSlots: new Map()
  }))
}
