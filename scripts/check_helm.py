#!/usr/bin/env python3
"""Checks the chart without a cluster: lint, refusals, renders, each rendered object against Kubernetes' schemas, and
that the image has what its build needs.

Runs itself in target/tools/venv, which scripts/tools.sh makes. Prints what it counted; exits 1 on any surprise. Proves
that its judge can say no by one render broken on purpose.
"""

import copy
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
CHART = ROOT / "helm" / "policyhub"
VENV = ROOT / "target" / "tools" / "venv"

if pathlib.Path(sys.prefix) != VENV:
    subprocess.run([ROOT / "scripts" / "tools.sh", "venv"], check=True)
    os.execv(VENV / "bin" / "python", [str(VENV / "bin" / "python"), *sys.argv])

import helm_python  # noqa: E402
import kubernetes_validate  # noqa: E402
import yaml  # noqa: E402

# The oldest Kubernetes that Chart.yaml permits and whose schemas the validator has, and the newest.
KUBERNETES = ["1.25", kubernetes_validate.latest_version()]

PLAIN = {"insecurePlaintext": True}
POSTGRESQL = {"type": "postgresql", "existingSecret": "db"}
ISSUER = {"name": "corp", "issuer": "https://id.example", "audience": "hub", "jwks": "https://id.example/keys"}

# Values that must render, besides ci/*.yaml.
GOOD = {
    "plaintext said aloud": PLAIN,
    "one replica on PostgreSQL": {**PLAIN, "database": POSTGRESQL, "keys": {"existingSecret": "k"}},
    "an identity provider": {**PLAIN, "config": {"issuers": [ISSUER]}},
    "limits as numbers": {**PLAIN, "resources": {"limits": {"cpu": 2, "memory": "1Gi"}}},
}

# Values that must be refused, and a word that the refusal must contain.
BAD = {
    "nothing said about TLS": ({}, "in the clear"),
    "TLS and plaintext": ({**PLAIN, "tls": {"existingSecret": "t"}}, "contradict"),
    "two replicas on SQLite": ({**PLAIN, "replicas": 2}, "one writer"),
    "PostgreSQL without a URL": ({**PLAIN, "database": {"type": "postgresql"}}, "database.existingSecret"),
    "PostgreSQL without keys": ({**PLAIN, "database": POSTGRESQL}, "keys.existingSecret"),
    "an unknown key": ({**PLAIN, "replicaCount": 1}, "replicaCount"),
    "an unknown key below": ({**PLAIN, "tls": {"cert": "x"}}, "cert"),
    "a secret written down": ({**PLAIN, "database": {"type": "sqlite", "url": "postgres://u:p@h/d"}}, "url"),
    "no replica": ({**PLAIN, "replicas": 0}, "replicas"),
    "replicas as a word": ({**PLAIN, "replicas": "three"}, "replicas"),
    "an unknown database": ({**PLAIN, "database": {"type": "mysql"}}, "database"),
    "a port out of range": ({**PLAIN, "service": {"grpcPort": 70700}}, "grpcPort"),
    "a digest cut short": ({**PLAIN, "image": {"digest": "sha256:01"}}, "digest"),
    "a size without a unit it knows": ({**PLAIN, "persistence": {"size": "10 GB"}}, "size"),
    "plaintext as a word": ({"insecurePlaintext": "yes"}, "insecurePlaintext"),
    "an identity provider without keys": ({**PLAIN, "config": {"issuers": [{"name": "corp"}]}}, "jwks"),
    "an unknown log format": ({**PLAIN, "config": {"logFormat": "xml"}}, "logFormat"),
}

# Kinds that each of ci/*.yaml must render to, no more and no fewer.
KINDS = {
    "sqlite": ["Deployment", "PersistentVolumeClaim", "Service", "ServiceAccount"],
    "postgresql": ["Deployment", "PodDisruptionBudget", "Service", "ServiceAccount"],
    "tls": ["Deployment", "Service", "ServiceAccount"],
    "insecure": ["Deployment", "PersistentVolumeClaim", "Service"],
}

surprises = []


def expect(holds, text):
    """Records a failure unless `holds`."""
    if not holds:
        surprises.append(text)


def render(chart, values):
    """Returns the objects that values render to; raises Helm's error when it refuses them."""
    chart.validate_schema(values)
    rendered = chart.render(values=values, name="policyhub", namespace="policies")
    manifests = [text for path, text in sorted(rendered.items()) if path.endswith(".yaml")]
    return [document for text in manifests for document in yaml.safe_load_all(text) if document]


def judge(document):
    """Returns the violations of Kubernetes' schemas by an object; empty when there are none."""
    for version in KUBERNETES:
        try:
            kubernetes_validate.validate(document, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            return f"Kubernetes {version}: {error.message}"
        except kubernetes_validate.SchemaNotFoundError as error:
            return f"Kubernetes {version} has no such object: {error}"
    return ""


def check_deployment(name, documents):
    """Checks what no schema covers: the properties of the chart's pods."""
    deployment = next(document for document in documents if document["kind"] == "Deployment")
    pod = deployment["spec"]["template"]["spec"]
    sqlite = name != "postgresql"
    environment = {entry["name"]: entry for entry in pod["containers"][0]["env"]}
    expect(deployment["spec"]["strategy"]["type"] == ("Recreate" if sqlite else "RollingUpdate"), f"{name}: strategy")
    expect(deployment["spec"]["replicas"] == (1 if sqlite else 3), f"{name}: replicas")
    expect(pod["automountServiceAccountToken"] is False, f"{name}: a token of the API is mounted")
    expect(pod["enableServiceLinks"] is False, f"{name}: service links would set POLICYHUB_* variables")
    expect(pod["terminationGracePeriodSeconds"] > 30, f"{name}: killed before it has drained")
    expect(pod["securityContext"]["runAsNonRoot"] is True, f"{name}: may run as root")
    expect(pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, f"{name}: no seccomp profile")
    for container in pod["containers"] + pod["initContainers"]:
        security = container["securityContext"]
        expect(security["readOnlyRootFilesystem"] is True, f"{name}: {container['name']} writes its root")
        expect(security["capabilities"] == {"drop": ["ALL"]}, f"{name}: {container['name']} keeps capabilities")
        expect(security["allowPrivilegeEscalation"] is False, f"{name}: {container['name']} may gain privileges")
    for probe, path in [("startupProbe", "/livez"), ("livenessProbe", "/livez"), ("readinessProbe", "/readyz")]:
        get = pod["containers"][0][probe]["httpGet"]
        expect(get == {"path": path, "port": "http"}, f"{name}: {probe} asks {get}")
    expect(("POLICYHUB_DATABASE_URL" in environment) != sqlite, f"{name}: the database's URL")
    expect(("POLICYHUB_INSECURE_PLAINTEXT" in environment) == (name == "insecure"), f"{name}: plaintext")
    expect(("POLICYHUB_TLS_KEY" in environment) == (name != "insecure"), f"{name}: TLS")
    for volume in pod["volumes"]:
        expect(volume.get("secret", {}).get("defaultMode", 0o400) == 0o400, f"{name}: mode of {volume['name']}")
    mounted = [mount["name"] for mount in pod["containers"][0]["volumeMounts"]]
    expect("tls" not in mounted, f"{name}: the server would see a TLS key that the group may read")
    # The server accepts key files of root that its own group may read: a key added to the Secret is read without a
    # restart.
    keys = environment.get("POLICYHUB_KEYS_DIR", {}).get("value")
    mounts = {mount["mountPath"]: mount for mount in pod["containers"][0]["volumeMounts"]}
    expect(("keys" in mounted) == (keys is not None), f"{name}: the Secret of the keys")
    expect(keys is None or mounts.get(keys, {}).get("readOnly") is True, f"{name}: keys_dir is not the mounted Secret")


def check_image():
    """Checks that the image's build has every package of the workspace, and what its sources are compiled with."""
    lines = (ROOT / "helm" / "Dockerfile").read_text().splitlines()
    copied = [line.split()[1:-1] for line in lines if line.startswith("COPY ") and "--from" not in line]
    with tempfile.TemporaryDirectory() as context:
        for source in (ROOT / name for names in copied for name in names):
            target = pathlib.Path(context) / source.name
            shutil.copytree(source, target, symlinks=True) if source.is_dir() else shutil.copy(source, target)
        metadata = ["cargo", "metadata", "--locked", "--no-deps", "--format-version", "1"]
        read = subprocess.run(metadata, cwd=context, capture_output=True, text=True)
        expect(read.returncode == 0, f"the build of the image: {read.stderr.strip()}")
        for name in ("build.rs", "askama.toml"):
            expect((pathlib.Path(context) / name).exists(), f"the build of the image has no {name}")


def main():
    """Runs every check and prints the counts."""
    sets = {path.stem: yaml.safe_load(path.read_text()) for path in sorted((CHART / "ci").glob("*.yaml"))}
    expect(sorted(sets) == sorted(KINDS), f"ci/ holds {sorted(sets)}, expected {sorted(KINDS)}")
    linted = judged = 0
    to_break = None
    with helm_python.Chart.load(CHART) as chart:
        expect(chart.schema is not None, "the chart has no values.schema.json")
        for name, values in sets.items():
            report = helm_python.lint(CHART, values, strict=True)
            bad = [message for message in report["messages"] if message["severity"] >= 2]
            expect(report["total_charts_linted"] == 1, f"lint {name}: {report['total_charts_linted']} charts")
            expect(not bad and not report["errors"], f"lint {name}: {bad} {report['errors']}")
            linted += 1

        for name, values in {**GOOD, **sets}.items():
            try:
                documents = render(chart, values)
            except helm_python.HelmError as error:
                surprises.append(f"{name} was refused: {error}")
                continue
            for document in documents:
                verdict = judge(document)
                expect(not verdict, f"{name}: {document['kind']}: {verdict}")
                judged += 1
            if name in KINDS:
                kinds = sorted(document["kind"] for document in documents)
                expect(kinds == KINDS[name], f"{name} renders {kinds}, expected {KINDS[name]}")
                check_deployment(name, documents)
                to_break = next(document for document in documents if document["kind"] == "Deployment")

        for name, (values, word) in BAD.items():
            try:
                render(chart, values)
                surprises.append(f"{name} was accepted")
            except helm_python.HelmError as error:
                expect(word in str(error), f"{name} was refused without the word {word!r}: {error}")

    check_image()
    if to_break:
        broken = copy.deepcopy(to_break)
        broken["spec"]["replicas"] = "three"
        expect("three" in judge(broken), "the judge took replicas: three")
    else:
        surprises.append("nothing rendered that could be broken")

    for surprise in surprises:
        print(f"check_helm: {surprise}", file=sys.stderr)
    print(
        f"helm: {linted} value sets linted, {len(GOOD) + len(sets)} rendered, {judged} objects judged by Kubernetes "
        f"{' and '.join(KUBERNETES)}, {len(BAD)} bad value sets tried, 1 broken render tried, "
        f"{len(surprises)} surprises"
    )
    return 1 if surprises else 0


if __name__ == "__main__":
    sys.exit(main())
