// SPDX-License-Identifier: Apache-2.0
// How the terms of tunnels are told wherever a peer or a flow is shown: the mode by its name, and above all whether
// packets are encrypted at all.
import { Mode } from '../proto/gen/bus.js';

const names: Partial<Record<Mode, 'tunnel' | 'transport'>> = {
  [Mode.MODE_TUNNEL]: 'tunnel',
  [Mode.MODE_TRANSPORT]: 'transport',
};

/** null where there is none. */
export const modeName = (mode: Mode): 'tunnel' | 'transport' | null => names[mode] ?? null;

/** Versions 2 and 3 authenticate by GMAC and leave everything readable (PSP specification, "Versions"). */
export const isEncrypted = (version: number): boolean => version <= 1;

/** What becomes of the traffic with a peer. */
export const protection = (authOnly: boolean): string =>
  authOnly ? 'NOT ENCRYPTED (authOnly)' : 'encrypted';
