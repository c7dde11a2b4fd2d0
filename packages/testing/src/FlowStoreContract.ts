import { describe, it, type Vitest } from "@effect/vitest"
import type { ConnectionStore } from "@valetkey/domain/ConnectionStore"
import type { DevicePolls } from "@valetkey/domain/DevicePolls"
import type { FlowStore } from "@valetkey/domain/FlowStore"
import type { Layer } from "effect"
import type * as Fixture from "./internal/contractFixtures.ts"
import * as FlowGroup from "./internal/flowGroupCases.ts"
import * as FlowHandOff from "./internal/flowHandOffCases.ts"
import * as FlowHolding from "./internal/flowHoldingCases.ts"
import * as FlowOpening from "./internal/flowOpeningCases.ts"
import * as FlowSettling from "./internal/flowSettlingCases.ts"
import * as FlowSweeping from "./internal/flowSweepingCases.ts"
import * as FlowTicket from "./internal/flowTicketCases.ts"
import * as FlowWaiting from "./internal/flowWaitingCases.ts"

/** Runs the contract of `FlowStore` on a layer; completing is observed through the `ConnectionStore` of the same layer. */
export const suite = <R>(
  name: string,
  layer: Layer.Layer<FlowStore | ConnectionStore | DevicePolls | R, unknown>,
  options: Fixture.ContractOptions<R>
): void => {
  describe(`FlowStore (${name})`, () => it.layer(layer, { timeout: "60 seconds" })((it) => cases(it, options)))
}

/** The cases of the contract, for a suite that shares its layer with others. */
export const cases = <R>(
  it: Vitest.MethodsNonLive<FlowStore | ConnectionStore | DevicePolls | R>,
  options: Fixture.ContractOptions<R>
): void => {
  FlowOpening.cases(it, options)
  FlowGroup.cases(it, options)
  FlowTicket.cases(it, options)
  FlowHandOff.cases(it, options)
  FlowHolding.cases(it, options)
  FlowSettling.cases(it, options)
  FlowSweeping.cases(it, options)
  FlowWaiting.cases(it, options)
}
