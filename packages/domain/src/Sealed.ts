import { Schema } from "effect"
import type { TenantId } from "./Tenant.ts"

/** Schema for one envelope: a secret encrypted at rest. Only a `Cipher` makes and opens it. */
export const Sealed = Schema.Uint8Array.pipe(Schema.brand("Sealed"))
export type Sealed = typeof Sealed.Type

/**
 * Where a sealed value belongs. The cipher authenticates it (together with the instance), so an envelope that is moved
 * to another row, field or generation does not open.
 */
export interface SealContext {
  readonly table: "connections" | "flows" | "registrations" | "servers" | "spool" | "tenant_keys"
  readonly tenant: TenantId
  /** Identity of the row within the tenant, injective: parts joined with `rowOf`. */
  readonly row: string
  readonly field:
    | "access_token"
    | "refresh_token"
    | "client_secret"
    | "code_verifier"
    | "authorization_code"
    | "authorization_url"
    | "credentials"
    | "data_key"
    | "account"
    | "device_code"
  readonly generation: number
}

/** Joins the parts of a row's identity so that no two different lists give the same string. */
export const rowOf = (...parts: ReadonlyArray<string>): string =>
  // Most identities are plain, and looking is quicker than encoding.
  parts.map((part) => plain.test(part) ? part : encodeURIComponent(part)).join("/")

const plain = /^[A-Za-z0-9._-]*$/

/** Whether an envelope is under the data key of its tenant: its first four bytes are `VK02`. Only a `Cipher` authenticates them. */
export const isUnderTenantKey = (sealed: Uint8Array): boolean =>
  sealed[3] === 0x32 && sealed[2] === 0x30 && sealed[1] === 0x4b && sealed[0] === 0x56

/**
 * The id of the root key that an envelope names: the fifth to eighth byte, big endian. Undefined for bytes that are too
 * short to name one, and for an envelope under a data key. Stores count by it; only a `Cipher` authenticates it.
 */
export const keyIdOf = (sealed: Sealed): number | undefined =>
  sealed.byteLength < 8 || isUnderTenantKey(sealed)
    ? undefined
    : new DataView(sealed.buffer, sealed.byteOffset, sealed.byteLength).getUint32(4)
