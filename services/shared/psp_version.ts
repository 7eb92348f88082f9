// SPDX-License-Identifier: Apache-2.0
// Properties of the PSP versions (PSP specification, "Versions").

/** Octets of a version's key (PSP specification, "Packet Encryption"). */
export const keyLengthOf = (version: number): number => (version & 1 ? 32 : 16);
