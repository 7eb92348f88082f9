// SPDX-License-Identifier: Apache-2.0
// The names of nodes and peers.

/** A node's name is one label of a host name, so that it is valid in subjects, file names and identities. */
export const isNodeName = (value: string): boolean => /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/.test(value);
