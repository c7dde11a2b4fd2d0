import { StoreError } from "@valetkey/domain/StoreError"
import type { TenantId } from "@valetkey/domain/Tenant"
import { Effect } from "effect"
import type { MemoryWorld } from "../MemoryWorld.ts"
import { atomically } from "./atomically.ts"

/** One step that gives a tenant a row: refused when the tenant is marked for deletion, or is gone. */
export const atomicallyOf = <A>(
  world: Pick<MemoryWorld["Service"], "deletions">,
  tenant: TenantId,
  operation: string,
  step: (now: number) => A,
  when: "marked" | "gone" = "marked"
): Effect.Effect<A, StoreError> =>
  Effect.flatten(atomically((now) => {
    const deletion = world.deletions.get(tenant)
    return deletion === undefined || when === "gone" && deletion.deletedAt === undefined
      ? Effect.succeed(step(now))
      : Effect.fail(new StoreError({ code: "tenant_deleted", operation }))
  }))
