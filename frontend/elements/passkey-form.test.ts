import { afterEach, beforeEach, expect, test, vi } from "vitest";

import "./passkey-form";
import { toBytes, toText } from "../lib/webauthn";
import { mount, settle } from "../test/pages";

const CHALLENGE = toText(new Uint8Array([251, 255, 1]).buffer);
const ANSWER = {
  id: "abc",
  rawId: new Uint8Array([9]).buffer,
  type: "public-key",
  response: {
    clientDataJSON: new Uint8Array([1]).buffer,
    authenticatorData: new Uint8Array([2]).buffer,
    signature: new Uint8Array([3]).buffer,
    userHandle: null,
  },
  getClientExtensionResults: () => ({ credProps: { rk: true } }),
};
const get = vi.fn();
const create = vi.fn();
const submit = vi.fn();

function page(ceremony: string, options: object): void {
  mount(`<passkey-form data-ceremony="${ceremony}" data-options="o"><form>
      <input type="hidden" name="credential">
      <input type="radio" name="passwordless" value="on" checked><input type="radio" name="passwordless" value="">
      <p data-part="error" hidden></p><button></button></form></passkey-form>
    <script type="application/json" id="o">${JSON.stringify(options)}</script>`);
  const form = document.querySelector("form");
  if (form) form.submit = submit;
}

async function press(): Promise<void> {
  document.querySelector("form")?.dispatchEvent(new Event("submit", { cancelable: true }));
  await settle();
}

const said = (): string | null | undefined => document.querySelector('[data-part="error"]')?.textContent;

beforeEach(() => {
  vi.stubGlobal("PublicKeyCredential", class {});
  vi.stubGlobal("navigator", { credentials: { get, create } });
});
afterEach(() => vi.clearAllMocks());

test("the texts of addresses and bytes are the same", () => {
  expect([...toBytes(CHALLENGE)]).toEqual([251, 255, 1]);
  expect(CHALLENGE).toBe("-_8B");
});

test("a passkey is shown, and the form carries what the browser signed", async () => {
  get.mockResolvedValue(ANSWER);
  page("get", { publicKey: { challenge: CHALLENGE, allowCredentials: [{ type: "public-key", id: "AQ" }] } });
  await press();
  const { publicKey } = get.mock.calls[0]?.[0] as { publicKey: PublicKeyCredentialRequestOptions };
  expect([...(publicKey.challenge as Uint8Array)]).toEqual([251, 255, 1]);
  expect([...(publicKey.allowCredentials?.[0]?.id as Uint8Array)]).toEqual([1]);
  const sent = JSON.parse(document.querySelector<HTMLInputElement>('[name="credential"]')?.value ?? "") as object;
  expect(sent).toMatchObject({ id: "abc", rawId: "CQ", response: { signature: "Aw" } });
  expect(sent).not.toHaveProperty("response.userHandle");
  expect(submit).toHaveBeenCalledOnce();
});

test.each([
  [0, "required"],
  [1, "discouraged"],
])("choice %i asks for a key that is %s to know its person", async (choice, residentKey) => {
  create.mockResolvedValue(ANSWER);
  page("create", { publicKey: { challenge: CHALLENGE, user: { id: "AQ", name: "b", displayName: "b" } } });
  const radios = document.querySelectorAll<HTMLInputElement>('[type="radio"]');
  radios.forEach((radio, index) => (radio.checked = index === choice));
  await press();
  const { publicKey } = create.mock.calls[0]?.[0] as { publicKey: PublicKeyCredentialCreationOptions };
  expect(publicKey.authenticatorSelection?.residentKey).toBe(residentKey);
  expect(submit).toHaveBeenCalledOnce();
});

test("whoever turns away is told so, and can press again", async () => {
  get.mockRejectedValueOnce(new DOMException("no", "NotAllowedError")).mockResolvedValue(ANSWER);
  page("get", { publicKey: { challenge: CHALLENGE } });
  await press();
  expect(said()).toContain("Press the button again");
  expect(submit).not.toHaveBeenCalled();
  await press();
  expect(submit).toHaveBeenCalledOnce();
});

test("pressing twice asks once", async () => {
  get.mockReturnValue(new Promise(() => undefined));
  page("get", { publicKey: { challenge: CHALLENGE } });
  await press();
  await press();
  expect(get).toHaveBeenCalledOnce();
});

test("a browser without passkeys says so", () => {
  vi.stubGlobal("navigator", {});
  page("get", { publicKey: { challenge: CHALLENGE } });
  expect(said()).toContain("no passkeys");
  expect(document.querySelector("button")?.disabled).toBe(true);
});
