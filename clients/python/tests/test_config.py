"""The configuration: MODE decides, and what is missing is named."""

import pytest

from stigmer import Config, create_sandbox_backend, errors

CLOUD = {
    "MODE": "cloud",
    "STIGMER_API_KEY": "key",
    "DAYTONA_API_KEY": "daytona",
    "REDIS_HOST": "redis",
}


def test_nothing_set_is_local_mode_and_needs_nothing():
    config = Config.load_from_env({})
    assert config.is_local_mode()
    assert (config.mode, config.sandbox_type) == ("local", "filesystem")
    assert config.get_sandbox_config() == {"type": "filesystem", "root_dir": "./workspace"}
    assert config.stigmer_backend_endpoint == "localhost:50051"
    assert (config.redis_host, config.redis_port, config.redis_password) == (None, None, None)
    assert config.stigmer_api_key is None


@pytest.mark.parametrize("env", ["local", "cloud", "production", "staging"])
@pytest.mark.parametrize(("mode", "local"), [({}, True), ({"MODE": "local"}, True), (CLOUD, False)])
def test_mode_decides_and_env_never_does(env, mode, local):
    assert Config.load_from_env({**mode, "ENV": env}).is_local_mode() is local


def test_cloud_mode_without_its_keys_names_all_that_is_missing():
    with pytest.raises(errors.BadConfigurationError) as caught:
        Config.load_from_env({"MODE": "cloud"})
    for name in ("STIGMER_API_KEY", "DAYTONA_API_KEY", "REDIS_HOST"):
        assert name in str(caught.value)
    with pytest.raises(ValueError, match="needs REDIS_HOST\n"):
        Config.load_from_env({name: CLOUD[name] for name in CLOUD if name != "REDIS_HOST"})
    with pytest.raises(ValueError, match="stands for none"):
        Config.load_from_env({**CLOUD, "STIGMER_API_KEY": "dummy-local-key"})


def test_cloud_mode_has_redis_and_daytona():
    config = Config.load_from_env({**CLOUD, "REDIS_PORT": "7000", "REDIS_PASSWORD": "secret"})
    assert (config.redis_host, config.redis_port, config.redis_password) == (
        "redis",
        7000,
        "secret",
    )
    sandbox = config.get_sandbox_config()
    assert sandbox == {"type": "daytona", "api_key": "daytona"}
    with pytest.raises(errors.NotAvailableError):
        create_sandbox_backend(sandbox)
    assert "secret" not in repr(config)
    assert "daytona'" not in repr(config).replace("sandbox_type='daytona'", "")


@pytest.mark.parametrize(
    ("said", "valid"),
    [
        ({"MODE": "Local"}, "local, cloud"),
        ({"SANDBOX_TYPE": "docker"}, "filesystem, daytona"),
        ({"STIGMER_EXECUTION_MODE": "none"}, "local, sandbox, auto"),
        ({**CLOUD, "REDIS_PORT": "x"}, "1 to 65535"),
        ({"SANDBOX_TYPE": "daytona"}, "MODE=cloud"),
    ],
)
def test_an_unknown_value_is_answered_with_the_valid_ones(said, valid):
    with pytest.raises(errors.BadConfigurationError) as caught:
        Config.load_from_env(said)
    assert valid in str(caught.value)
