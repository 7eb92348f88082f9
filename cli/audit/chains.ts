// SPDX-License-Identifier: Apache-2.0
// Proves that no event is missing: every start of every service numbers its events from 1, so a reader who sees the
// whole stream can name each gap. A gap is explained if its producer reports the loss itself, or if it precedes the
// first event of a stream that has already removed its oldest ones. No reader can see what a producer has recorded
// last and not published yet.
import type { AuditEvent } from '../../services/shared/audit/event.js';

type GapCause = 'lost' | 'streamLimit' | 'unexplained';

interface Gap {
  first: number;
  last: number;
  cause: GapCause;
}

/** The events of one start of one service in the stream. */
export interface Chain {
  source: string;
  incarnation: string;
  first: number;
  last: number;
  events: number;
  gaps: Gap[];
  /** Numbers that occur more than once, and those that follow a higher one. */
  doubled: number[];
  disordered: number[];
}

interface Link {
  chain: Chain;
  seen: Set<number>;
  losses: { first: number; last: number }[];
}

/** The most gaps of a kind that are named for one chain. */
const named = 1000;

export class AuditChains {
  /** Messages of the stream that are not valid audit events. */
  foreign = 0;
  readonly #links = new Map<string, Link>();

  take(event: AuditEvent | undefined): void {
    if (event === undefined) {
      this.foreign++;
      return;
    }
    const { source, incarnation, sequence, type, data } = event;
    const id = `${source} ${incarnation}`;
    const link = this.#links.get(id) ?? {
      chain: {
        source,
        incarnation,
        first: sequence,
        last: 0,
        events: 0,
        gaps: [],
        doubled: [],
        disordered: [],
      },
      seen: new Set<number>(),
      losses: [],
    };
    this.#links.set(id, link);
    const { chain, seen } = link;
    chain.events++;
    if (seen.has(sequence)) note(chain.doubled, sequence);
    else if (sequence < chain.last) note(chain.disordered, sequence);
    seen.add(sequence);
    chain.first = Math.min(chain.first, sequence);
    chain.last = Math.max(chain.last, sequence);
    if (type === 'audit.lost') link.losses.push({ first: Number(data.first), last: Number(data.last) });
  }

  /**
   * @param dropped the stream has removed its oldest messages.
   */
  chains(dropped: boolean): Chain[] {
    return Array.from(this.#links.values(), ({ chain, seen, losses }) => {
      const gaps: Gap[] = [];
      const gap = (first: number, last: number) => {
        const isReported = losses.some((loss) => loss.first <= first && last <= loss.last);
        const cause = isReported ? 'lost' : dropped && first === 1 ? 'streamLimit' : 'unexplained';
        if (gaps.length < named) gaps.push({ first, last, cause });
      };
      let expected = 1;
      for (const sequence of [...seen].sort((one, other) => one - other)) {
        if (sequence > expected) gap(expected, sequence - 1);
        expected = sequence + 1;
      }
      return { ...chain, gaps };
    });
  }
}

function note(list: number[], sequence: number): void {
  if (list.length < named) list.push(sequence);
}

/** No event is missing without a reason, duplicated or out of order. */
export const isWhole = ({ gaps, doubled, disordered }: Chain): boolean =>
  doubled.length === 0 && disordered.length === 0 && gaps.every(({ cause }) => cause !== 'unexplained');
