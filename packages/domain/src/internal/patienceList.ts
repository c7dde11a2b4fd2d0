import { type Clock, Duration, Effect, Fiber, type Scope } from "effect"

/** What may be in a list of those whose patience ends. The fields belong to the list. */
export interface Patient {
  /** In milliseconds since the lists were made. */
  deadline: number
  list: List | undefined
  earlier: Patient | undefined
  later: Patient | undefined
}

/** Those who wait equally long, in the order of coming, which is that of their deadlines. */
interface List {
  readonly millis: number
  first: Patient | undefined
  last: Patient | undefined
}

/** The deadlines of any number of patients behind one timer. */
export interface PatienceList<P extends Patient> {
  /** Calls back when the duration has passed, once and in the order of the deadlines. Endless patience is kept nowhere. */
  add(patient: P, duration: Duration.Duration): void
  leave(patient: P): void
}

/** Makes lists that call `over` for whoever waited long enough. The scope ends the timer. */
export const makePatience = <P extends Patient>(
  clock: Clock.Clock,
  over: (patient: P) => void
): Effect.Effect<PatienceList<P>, never, Scope.Scope> =>
  Effect.gen(function*() {
    const run = Effect.runForkWith(yield* Effect.context<never>())
    const origin = clock.monotonicTimeNanosUnsafe()
    const now = (): number => Math.ceil(Number(clock.monotonicTimeNanosUnsafe() - origin) / 1_000_000)
    const lists = new Map<number, List>()
    let timer: { readonly fiber: Fiber.Fiber<void>; readonly at: number } | undefined

    const unlink = (patient: Patient): void => {
      const { earlier, later, list } = patient
      if (list === undefined) return
      if (earlier === undefined) list.first = later
      else earlier.later = later
      if (later === undefined) list.last = earlier
      else later.earlier = earlier
      if (list.first === undefined) lists.delete(list.millis)
      patient.list = patient.earlier = patient.later = undefined
    }

    const ring = Effect.sync(() => {
      timer = undefined
      const at = now()
      const passed: Array<Patient> = []
      for (const list of lists.values()) {
        while (list.first !== undefined && list.first.deadline <= at) {
          passed.push(list.first)
          unlink(list.first)
        }
      }
      arm()
      for (const patient of passed.sort((a, b) => a.deadline - b.deadline)) over(patient as P)
    })

    const arm = (): void => {
      let at = Infinity
      for (const { first } of lists.values()) if (first !== undefined && first.deadline < at) at = first.deadline
      if (at === Infinity || timer !== undefined && timer.at <= at) return
      timer?.fiber.interruptUnsafe()
      timer = { at, fiber: run(Effect.andThen(Effect.sleep(Duration.millis(Math.max(0, at - now()))), ring)) }
    }

    yield* Effect.addFinalizer(() => timer === undefined ? Effect.void : Fiber.interrupt(timer.fiber))

    return {
      add: (patient, duration) => {
        const millis = Math.ceil(Duration.toMillis(duration))
        if (millis === Infinity) return
        patient.deadline = now() + millis
        const list = lists.get(millis)
        if (list === undefined) {
          patient.list = { millis, first: patient, last: patient }
          lists.set(millis, patient.list)
          // Only the first of a list can be the next one of all.
          arm()
          return
        }
        patient.list = list
        patient.earlier = list.last
        if (list.last !== undefined) list.last.later = patient
        list.last = patient
      },
      leave: (patient) => {
        unlink(patient)
        if (lists.size > 0) return
        timer?.fiber.interruptUnsafe()
        timer = undefined
      }
    }
  })
