/** Between the server's JSON and the browser's passkey functions, which speak in bytes. */

interface CredentialJson {
  id: string;
  type: PublicKeyCredentialType;
}

export interface CreationJson {
  publicKey: Omit<PublicKeyCredentialCreationOptions, "challenge" | "user" | "excludeCredentials"> & {
    challenge: string;
    user: { id: string; name: string; displayName: string };
    excludeCredentials?: CredentialJson[];
  };
}

export interface RequestJson {
  publicKey: Omit<PublicKeyCredentialRequestOptions, "challenge" | "allowCredentials"> & {
    challenge: string;
    allowCredentials?: CredentialJson[];
  };
}

/** Base64 as addresses use it. Pure. */
export function toBytes(text: string): Uint8Array<ArrayBuffer> {
  const plain = atob(text.replaceAll("-", "+").replaceAll("_", "/"));
  return Uint8Array.from(plain, (letter) => letter.charCodeAt(0));
}

/** The other way; without the padding. Pure. */
export function toText(bytes: ArrayBuffer): string {
  const plain = String.fromCharCode(...new Uint8Array(bytes));
  return btoa(plain).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

function descriptors(list: CredentialJson[] | undefined): PublicKeyCredentialDescriptor[] {
  return (list ?? []).map(({ id, type }) => ({ id: toBytes(id), type }));
}

/** `alone`: it is to sign in by itself, so it must know its person and ask for finger, face or PIN. */
export function creationOptions({ publicKey }: CreationJson, alone: boolean): PublicKeyCredentialCreationOptions {
  return {
    ...publicKey,
    challenge: toBytes(publicKey.challenge),
    user: { ...publicKey.user, id: toBytes(publicKey.user.id) },
    excludeCredentials: descriptors(publicKey.excludeCredentials),
    authenticatorSelection: {
      ...publicKey.authenticatorSelection,
      residentKey: alone ? "required" : "discouraged",
      requireResidentKey: alone,
      ...(alone ? { userVerification: "required" as const } : {}),
    },
  };
}

export function requestOptions({ publicKey }: RequestJson): PublicKeyCredentialRequestOptions {
  return {
    ...publicKey,
    challenge: toBytes(publicKey.challenge),
    allowCredentials: descriptors(publicKey.allowCredentials),
  };
}

/** What the browser answered, as the server reads it. */
export function credentialJson(credential: PublicKeyCredential): string {
  const { response } = credential;
  const parts: Record<string, string> = { clientDataJSON: toText(response.clientDataJSON) };
  for (const name of ["attestationObject", "authenticatorData", "signature", "userHandle"]) {
    const bytes = (response as unknown as Record<string, ArrayBuffer | null | undefined>)[name];
    if (bytes) parts[name] = toText(bytes);
  }
  return JSON.stringify({
    id: credential.id,
    rawId: toText(credential.rawId),
    type: credential.type,
    response: parts,
    clientExtensionResults: credential.getClientExtensionResults(),
  });
}
