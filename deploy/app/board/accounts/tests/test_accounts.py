"""Signing up, logging in, profiles."""

from django.contrib.auth.models import User
from django.test import Client, TestCase

from board.accounts.models import Profile
from board.core.testing import PASSWORD, person


class SignUp(TestCase):
    def test_signing_up_logs_in_and_makes_a_profile(self) -> None:
        fields = {"username": "rosa", "password1": PASSWORD, "password2": PASSWORD}
        response = self.client.post("/accounts/signup/", fields, follow=True)
        self.assertContains(response, "Welcome, rosa!")
        self.assertEqual(Profile.objects.get().user, User.objects.get())
        self.assertEqual(int(self.client.session["_auth_user_id"]), User.objects.get().pk)

    def test_bad_names_and_passwords_come_back_with_messages(self) -> None:
        person("tom")
        for name, one, two, text in (
            ("tom", PASSWORD, PASSWORD, "already exists"),
            ("rosa", "12345678", "12345678", "too common"),
            ("rosa", PASSWORD, PASSWORD + "x", "didn’t match"),
            ("<b>", PASSWORD, PASSWORD, "valid username"),
            ("x" * 151, PASSWORD, PASSWORD, "at most 150"),
        ):
            with self.subTest(text):
                fields = {"username": name, "password1": one, "password2": two}
                response = self.client.post("/accounts/signup/", fields)
                self.assertContains(response, text, status_code=422)
        self.assertEqual(User.objects.count(), 1)


class Sessions(TestCase):
    def test_the_session_lives_in_the_database_and_any_instance_can_use_it(self) -> None:
        person("rosa")
        self.client.post("/accounts/login/", {"username": "rosa", "password": PASSWORD})
        other = Client()
        other.cookies = self.client.cookies
        self.assertEqual(other.get("/create/").status_code, 200)
        self.client.post("/accounts/logout/")
        self.assertEqual(other.get("/create/").status_code, 302)

    def test_a_wrong_password_stays_on_the_page(self) -> None:
        person("rosa")
        response = self.client.post("/accounts/login/", {"username": "rosa", "password": "no"})
        self.assertContains(response, "correct username and password")

    def test_login_does_not_redirect_to_other_sites(self) -> None:
        person("rosa")
        fields = {"username": "rosa", "password": PASSWORD, "next": "https://evil.example/"}
        self.assertEqual(self.client.post("/accounts/login/", fields)["Location"], "/")


class Profiles(TestCase):
    def test_a_profile_is_shown_and_edited_by_its_owner(self) -> None:
        self.client.force_login(person("rosa"))
        fields = {"display_name": "Rosa L.", "bio": "By the water."}
        self.assertRedirects(self.client.post("/accounts/edit/", fields), "/accounts/rosa/")
        self.assertContains(self.client.get("/accounts/rosa/"), "By the water.")

    def test_nobody_of_that_name_is_not_found(self) -> None:
        self.assertEqual(self.client.get("/accounts/nobody/").status_code, 404)

    def test_the_admin_lists_posts_for_staff_only(self) -> None:
        self.client.force_login(person("rosa"))
        self.assertEqual(self.client.get("/admin/posts/post/").status_code, 302)
        self.client.force_login(User.objects.create_superuser("root", password=PASSWORD))
        for page in ("posts/post/", "posts/post/add/", "posts/comment/", "insights/visit/"):
            with self.subTest(page):
                self.assertEqual(self.client.get(f"/admin/{page}").status_code, 200)
