import { Context, type Effect } from "effect"

/** Port: whether the store can serve right now. */
export class StoreHealth extends Context.Service<StoreHealth, {
  /** One look; never fails. The reason is a stable code, or `ok`. */
  readonly check: Effect.Effect<{ readonly ok: boolean; readonly reason: string }>
}>()("@valetkey/server/StoreHealth") {}
