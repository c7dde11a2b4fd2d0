import * as KeySource from "@valetkey/keyring/KeySource"
import { Context, Effect, Layer } from "effect"
import type { Settings } from "./Settings.ts"

/** Where the root keys of this process come from: one source for all that use them, since some can be read only once. */
export class RootKeys extends Context.Service<RootKeys, KeySource.KeySource>()("@valetkey/server/RootKeys") {
  /** Layer over what is configured, else the key file of the local profile. Building it reads no key. */
  static readonly layer = ({ home, keys, profile }: Settings): Layer.Layer<RootKeys> => {
    // Said here and not when the layer is built: nothing of this process is open yet.
    const descriptor = keys?._tag === "descriptor" ? KeySource.fromDescriptor(keys.descriptor) : undefined
    return descriptor !== undefined
      ? Layer.succeed(RootKeys, descriptor)
      : keys?._tag === "wrapped"
      ? Layer.effect(
        RootKeys,
        Effect.gen(function*() {
          const VaultKeys = yield* Effect.promise(() => import("./VaultKeys.ts"))
          return KeySource.fromWrapped({ keys: keys.text, service: yield* VaultKeys.make(keys.vault) })
        })
      )
      : Layer.sync(RootKeys, () =>
        keys?._tag === "text"
          ? KeySource.fromText(keys.text)
          : keys?._tag === "file"
          ? KeySource.fromFile({ path: keys.path, create: false, append: profile === "local" })
          : profile === "local"
          ? KeySource.fromFile({ path: home.keys, create: false, append: true })
          : KeySource.fromText(undefined))
  }
}
