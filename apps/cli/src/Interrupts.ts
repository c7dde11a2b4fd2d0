// A command that lives until a signal, or passes signals on, handles them itself.
let owned = false

/** Whether the running command handles signals itself. */
export const areOwned = (): boolean => owned

/** Leaves signals to the running command from now on. */
export const own = (): void => {
  owned = true
}
