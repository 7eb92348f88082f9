// SPDX-License-Identifier: Apache-2.0
// How the terms of tunnels are shown for a peer or a flow: the name of the mode, and whether packets are encrypted.
import type { Mode } from '../proto/gen/bus.js';
import { nameOfMode } from '../services/shared/modes.js';

/** null if there is none. */
export const modeName = (mode: Mode) => nameOfMode(mode) ?? null;

/** Versions 2 and 3 authenticate with GMAC and encrypt nothing (PSP specification, "Versions"). */
export const isEncrypted = (version: number): boolean => version <= 1;

/** How the traffic with a peer is protected. */
export const protection = (authOnly: boolean): string =>
  authOnly ? 'NOT ENCRYPTED (authOnly)' : 'encrypted';
